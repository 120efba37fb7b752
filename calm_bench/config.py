"""The configuration: what every YAML in conf/ must match, and the refusal of what cannot run, before anything loads.

One dataclass for each group. Hydra composes YAML into them, so a misspelt option or a wrong type never gets this far;
ranges and combinations are checked here, one line an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from calm_bench.calibration import METHODS
from calm_bench.errors import InputError
from calm_bench.refusal import refuse_unknown

PACKAGE = Path(__file__).parent


class DecayForm(StrEnum):
    additive = "additive"
    multiplicative = "multiplicative"
    none = "none"


@dataclass
class TaskConfig:
    _target_: str = MISSING
    name: str = MISSING
    path: str | None = None
    hub: str | None = None
    hub_config: str | None = None
    split: str = MISSING
    prompt: str = MISSING
    max_source_tokens: int = MISSING
    max_new_tokens: int = MISSING
    tau: dict[str, float] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    similarity: dict[str, Any] = field(default_factory=dict)
    beside: list[Any] = field(default_factory=list)
    sample_seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)  # what a task written elsewhere takes beside these

    def __post_init__(self) -> None:
        _at_least("task.max_source_tokens", self.max_source_tokens, 1)
        _at_least("task.max_new_tokens", self.max_new_tokens, 1)
        for measure, tau in self.tau.items():
            _at_least(f"task.tau.{measure}", tau, 0)


@dataclass
class ScratchConfig:
    vocab_size: int = MISSING
    d_model: int = MISSING
    d_kv: int = MISSING
    num_heads: int = MISSING
    d_ff: int = MISSING
    num_layers: int = MISSING
    num_decoder_layers: int = MISSING
    dropout_rate: float = MISSING

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "d_kv", "num_heads", "d_ff", "num_layers", "num_decoder_layers"):
            _at_least(f"model.scratch.{name}", getattr(self, name), 1)


@dataclass
class ModelConfig:
    name: str = MISSING
    path: str | None = None
    hub: str | None = None
    scratch: ScratchConfig | None = None
    dtype: str = MISSING

    def __post_init__(self) -> None:
        _one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        if self.path is None and self.hub is None and self.scratch is None:
            raise InputError("model: one of model.path, model.hub and model.scratch is needed; all are null")


@dataclass
class QuantilesConfig:
    split: str = MISSING
    examples: int = MISSING
    count: int = MISSING

    def __post_init__(self) -> None:
        _at_least("threshold.quantiles.examples", self.examples, 1)
        _at_least("threshold.quantiles.count", self.count, 1)


@dataclass
class ThresholdConfig:
    grid: list[float] = MISSING
    quantiles: QuantilesConfig | None = None
    decay: DecayForm = MISSING
    tau: float | None = None
    min_layer: int = MISSING

    def __post_init__(self) -> None:
        if self.grid and self.quantiles:
            raise InputError(f"threshold.grid={self.grid} must be [] where threshold.quantiles makes the grids")
        if not (self.grid or self.quantiles) or not all(0 < value <= 1 for value in self.grid):
            raise InputError(f"threshold.grid={self.grid} must be values in (0, 1], at least one")
        if any(above <= below for above, below in zip(self.grid, self.grid[1:], strict=False)):
            raise InputError(f"threshold.grid={self.grid} must be strictly descending")
        if self.tau is not None:
            _at_least("threshold.tau", self.tau, 0)
        _at_least("threshold.min_layer", self.min_layer, 1)


@dataclass
class CalibrationConfig:
    textual: list[float] = MISSING
    risk: list[float] = MISSING
    epsilon: float = MISSING
    method: str = MISSING
    trials: int = MISSING
    fraction: float = MISSING
    seed: int = MISSING
    bootstrap_seed: int = MISSING

    def __post_init__(self) -> None:
        for objective in ("textual", "risk"):
            for delta in getattr(self, objective):
                _in_open_unit(f"calibration.{objective}", delta)
        _in_open_unit("calibration.epsilon", self.epsilon)
        _in_open_unit("calibration.fraction", self.fraction)
        _one_of("calibration.method", self.method, METHODS)
        _at_least("calibration.trials", self.trials, 0)


@dataclass
class TrainingConfig:
    path: str | None = None
    split: str = MISSING
    steps: int = MISSING
    batch_size: int = MISSING
    gradient_accumulation: int = MISSING
    optimizer: str = MISSING
    learning_rate: float = MISSING
    schedule: str = MISSING
    warmup_steps: int = MISSING
    weight_decay: float = MISSING
    loss_weights: str = MISSING
    exit_simulation: float = MISSING
    bf16: bool = MISSING
    evaluate_every: int = MISSING
    evaluate_examples: int = MISSING
    classifier_steps: int = MISSING
    classifier_learning_rate: float = MISSING
    classifier_objective: str = MISSING
    classifier_balanced: bool = MISSING
    stored_dtype: str = MISSING
    workers: int = MISSING

    def __post_init__(self) -> None:
        for name in ("steps", "warmup_steps", "weight_decay", "classifier_steps", "workers"):
            _at_least(f"training.{name}", getattr(self, name), 0)
        for name in ("batch_size", "gradient_accumulation", "evaluate_every", "evaluate_examples"):
            _at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("learning_rate", "classifier_learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"training.{name}={getattr(self, name)} must be above 0")
        _one_of("training.optimizer", self.optimizer, ("adafactor", "adamw"))
        _one_of("training.schedule", self.schedule, ("constant", "linear", "cosine"))
        _one_of("training.loss_weights", self.loss_weights, ("index", "uniform", "last"))
        if not 0 <= self.exit_simulation < 1:
            raise InputError(f"training.exit_simulation={self.exit_simulation} must be at least 0 and below 1")
        _one_of("training.classifier_objective", self.classifier_objective, ("independent", "geometric"))
        _one_of("training.stored_dtype", self.stored_dtype, ("float32", "float16", "bfloat16"))

    @property
    def trains(self) -> bool:
        return self.steps > 0 or self.classifier_steps > 0


@dataclass
class TimingConfig:
    examples: int = MISSING
    repeats: int = MISSING
    warmup: int = MISSING
    threads: int = MISSING
    static: bool = MISSING
    thresholds: list[float] = MISSING
    generate: bool = MISSING
    grid: bool = MISSING

    def __post_init__(self) -> None:
        _at_least("timing.examples", self.examples, 0)
        _at_least("timing.repeats", self.repeats, 1)
        _at_least("timing.warmup", self.warmup, 0)
        _at_least("timing.threads", self.threads, 1)


@dataclass
class TrackingConfig:
    mode: str = MISSING
    project: str = MISSING
    entity: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _one_of("tracking.mode", self.mode, ("auto", "online", "offline", "disabled"))


@dataclass
class Config:
    name: str = MISSING
    task: TaskConfig = MISSING
    model: ModelConfig = MISSING
    measure: dict[str, Any] = field(default_factory=dict)
    threshold: ThresholdConfig = MISSING
    calibration: CalibrationConfig = MISSING
    training: TrainingConfig = MISSING
    timing: TimingConfig = MISSING
    tracking: TrackingConfig = MISSING
    baselines: list[str] = MISSING
    state_copying: str = MISSING
    probes: list[str] = MISSING
    limit: int | None = None
    batch_size: int = MISSING
    seed: int = MISSING
    device: str = MISSING
    runs_dir: str = MISSING
    figures: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        if not self.measure:
            raise InputError("measure: at least one confidence measure is needed, such as measure=[softmax,state]")
        for baseline in self.baselines:
            _one_of("baselines", baseline, ("static", "oracle"))
        if self.training.trains and self.training.path is None and self.training.split == self.task.split:
            raise InputError(f"training.split={self.training.split} must be another split than task.split")
        for probe in self.probes:
            _one_of("probes", probe, ("reliability", "perturbation", "classifier_f1"))
        _one_of("state_copying", self.state_copying, ("exit_state", "first_state", "projected_kv", "true_state"))
        if self.limit is not None:
            _at_least("limit", self.limit, 1)
        _at_least("batch_size", self.batch_size, 1)
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        for value in self.timing.thresholds:
            if self.threshold.quantiles:
                raise InputError(f"timing.thresholds={value}: quantiles are not known beforehand; use threshold=grid")
            _one_of("timing.thresholds", value, self.threshold.grid)
        if self.threshold.quantiles and self.threshold.quantiles.split == self.task.split:
            raise InputError(
                f"threshold.quantiles.split={self.task.split} must be another split than task.split: a grid made from "
                "the examples that calibrate voids the promise"
            )
        if self.model.path is None and self.model.hub is None and self.training.steps == 0:
            raise InputError(
                "training.steps=0: a model from scratch must be trained; choose training=paper or model.path=DIR"
            )
        if (
            self.model.path is None
            and self.model.scratch is None
            and "classifier" in self.measure
            and not self.training.classifier_steps
        ):
            raise InputError(
                "measure: 'classifier' needs an exit classifier; train one (training.classifier_steps) or give "
                "model.path=DIR with one"
            )


def register() -> None:
    """Make the schema and the resolvers known to Hydra; called once, before it composes."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("assets", lambda name: str(PACKAGE / "assets" / name), replace=True)


def config_dir() -> Path:
    """conf/, inside an installed package or beside a checkout's."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def resolve(composed: DictConfig) -> Config:
    """The composed configuration as checked dataclasses. Raises InputError."""
    refuse_unknown(composed, Config)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def plain(config: Config) -> dict[str, Any]:
    """The resolved configuration as plain values, as records and W&B hold it."""
    values = OmegaConf.to_container(OmegaConf.structured(config), resolve=True, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def build(node: Any) -> Any:
    """The object that a `_target_` and its arguments describe: a task, a measure. `options` are further arguments."""
    values: Any = dict(node) if isinstance(node, Mapping) else OmegaConf.to_container(OmegaConf.structured(node))
    values |= values.pop("options", {})
    try:
        return instantiate(values, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(f"{values.get('_target_')}: {str(cause).splitlines()[0]}") from error


def _at_least(option: str, value: float, least: float) -> None:
    if value < least:
        raise InputError(f"{option}={value} must be at least {least}")


def _in_open_unit(option: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{option}={value} must lie strictly between 0 and 1")


def _one_of(option: str, value: object, allowed: Any) -> None:
    if value not in allowed:
        raise InputError(f"{option}={value!r} must be one of {', '.join(map(str, allowed))}")
