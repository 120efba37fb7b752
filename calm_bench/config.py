"""The configuration: what every YAML in conf/ must match, and the refusal of what cannot run, before anything loads.

One dataclass for each group. `compose.py` fills them from YAML, so a misspelt option or a wrong type never gets this
far; a range is declared with its option, combinations are checked below, one line an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, Any

from calm_bench import choices
from calm_bench.errors import InputError
from calm_bench.options import (
    MISSING,
    Batch,
    ClassPath,
    Count,
    HubName,
    Interval,
    Layer,
    Name,
    NonNegative,
    OneOf,
    Options,
    Path,
    Probability,
    Processes,
    Rate,
    RunName,
    Seed,
    Share,
    Size,
    Threads,
    Threshold,
    Tokens,
    WandbName,
    WandbTag,
    Width,
    Words,
)

NOT_RESULTS = ("question", "answer", "runs_dir", "figures", "force", "tracking", "batch_size", "training.workers")
"""Options that never change a result: they are in no key of a stage, no run id and no name of a group of runs."""


@dataclass
class TaskConfig(Options, group="task"):
    _target_: ClassPath = MISSING
    name: Name = MISSING
    path: Path | None = None
    hub: HubName | None = None
    hub_config: Name | None = None
    split: Name = MISSING
    prompt: Words = MISSING
    max_source_tokens: Tokens = MISSING
    max_new_tokens: Tokens = MISSING
    tau: dict[str, NonNegative] = field(default_factory=dict)
    cluster: Name | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    similarity: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    sample_seed: Seed = 0
    options: dict[str, Any] = field(default_factory=dict)  # what a task written elsewhere takes beside these


@dataclass
class ScratchConfig(Options, group="model.scratch"):
    vocab_size: Width = MISSING
    d_model: Width = MISSING
    d_kv: Width = MISSING
    num_heads: Width = MISSING
    d_ff: Width = MISSING
    num_layers: Layer = MISSING
    num_decoder_layers: Layer = MISSING
    dropout_rate: Share = MISSING


@dataclass
class ModelConfig(Options, group="model"):
    name: Name = MISSING
    path: Path | None = None
    hub: HubName | None = None
    scratch: ScratchConfig | None = None
    dtype: Annotated[str, OneOf(choices.DecodingDtype)] = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None and self.hub is None and self.scratch is None:
            raise InputError("model: one of model.path, model.hub and model.scratch is needed; all are null")


@dataclass
class QuantilesConfig(Options, group="threshold.quantiles"):
    split: Name = MISSING
    examples: Annotated[int, Interval(1, 1000)] = MISSING
    count: Annotated[int, Interval(1, 1000)] = MISSING


@dataclass
class ThresholdConfig(Options, group="threshold"):
    grid: list[Threshold] = MISSING
    quantiles: QuantilesConfig | None = None
    decay: Annotated[str, OneOf(choices.DecayForm)] = MISSING
    tau: NonNegative | None = None
    min_layer: Layer = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid and self.quantiles:
            raise InputError(f"threshold.grid={self.grid} must be [] where threshold.quantiles makes the grids")
        if not (self.grid or self.quantiles):
            raise InputError("threshold.grid=[] must hold at least one threshold, where threshold.quantiles is null")
        if any(above <= below for above, below in zip(self.grid, self.grid[1:], strict=False)):
            raise InputError(f"threshold.grid={self.grid} must be strictly descending")


@dataclass
class CalibrationConfig(Options, group="calibration"):
    textual: list[Probability] = MISSING
    risk: list[Probability] = MISSING
    epsilon: Probability = MISSING
    method: Any = MISSING  # a name, or a _target_ with its arguments
    unit: Annotated[str, OneOf(choices.CalibrationUnit)] = "example"
    joint: bool = False
    trials: Annotated[int, Interval(0, 100_000)] = MISSING
    fraction: Probability = MISSING
    seed: Seed = MISSING
    bootstrap_seed: Seed = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        named = OneOf(choices.CalibrationMethod)
        described = isinstance(self.method, dict) and "_target_" in self.method
        if self.method != MISSING and not described and self.method not in named:
            raise InputError(f"calibration.method={self.method!r} must be {named}, or a _target_ with its arguments")


@dataclass
class TrainingConfig(Options, group="training"):
    """How a model is fine-tuned; conf/training/paper.yaml says what each line means."""

    path: Path | None = None
    split: Name = MISSING
    steps: Count = MISSING
    batch_size: Batch = MISSING
    gradient_accumulation: Batch = MISSING
    optimizer: Annotated[str, OneOf(choices.Optimizer)] = MISSING
    learning_rate: Rate = MISSING
    schedule: Annotated[str, OneOf(choices.Schedule)] = MISSING
    warmup_steps: Count = MISSING
    weight_decay: NonNegative = MISSING
    scale_parameter: bool = MISSING
    max_grad_norm: NonNegative = MISSING
    loss_weights: Annotated[str, OneOf(choices.LossWeights)] = MISSING
    exit_simulation: Share = MISSING
    bf16: bool = MISSING
    compile: bool = MISSING
    evaluate_every: Size = MISSING
    evaluate_examples: Size = MISSING
    classifier_steps: Count = MISSING
    classifier_learning_rate: Rate = MISSING
    classifier_objective: Annotated[str, OneOf(choices.ClassifierObjective)] = MISSING
    classifier_balanced: bool = MISSING
    mlp_classifier_steps: Count = MISSING
    mlp_classifier_learning_rate: Rate = MISSING
    mlp_classifier_batch_size: Size = MISSING
    mlp_classifier_gigabytes: Annotated[float, Interval(0.001, 10_000)] = MISSING
    mlp_classifier_hidden: Width = MISSING
    mlp_classifier_sources: Size = MISSING
    stored_dtype: Annotated[str, OneOf(choices.StoredDtype)] = MISSING
    workers: Processes = MISSING

    @property
    def trains(self) -> bool:
        return max(self.steps, self.classifier_steps, self.mlp_classifier_steps) > 0


@dataclass
class TimingConfig(Options, group="timing"):
    examples: Count = MISSING
    repeats: Annotated[int, Interval(1, 10_000)] = MISSING
    warmup: Annotated[int, Interval(0, 10_000)] = MISSING
    threads: Threads = MISSING
    static: bool = MISSING
    thresholds: list[Threshold] = MISSING
    generate: bool = MISSING
    peers: bool = MISSING
    loop: bool = MISSING
    grid: bool = MISSING
    executor: Annotated[str, OneOf(choices.TimingExecutor)] = MISSING


@dataclass
class SpeculativeConfig(Options, group="speculative"):
    layers: list[Layer] = MISSING
    drafts: list[Annotated[int, Interval(1, 100)]] = MISSING


@dataclass
class TrackingConfig(Options, group="tracking"):
    mode: Annotated[str, OneOf(choices.TrackingMode)] = MISSING
    project: WandbName = MISSING
    entity: WandbName | None = None
    tags: list[WandbTag] = field(default_factory=list)


@dataclass
class Config(Options, group=""):
    name: RunName = MISSING
    question: Words = MISSING
    answer: Annotated[str, OneOf(choices.AnswerName)] = "promises"
    task: TaskConfig = MISSING
    model: ModelConfig = MISSING
    measure: dict[str, Any] = field(default_factory=dict)
    threshold: ThresholdConfig = MISSING
    calibration: CalibrationConfig = MISSING
    training: TrainingConfig = MISSING
    timing: TimingConfig = MISSING
    tracking: TrackingConfig = MISSING
    baselines: list[Annotated[str, OneOf(choices.BaselineName)]] = MISSING
    speculative: SpeculativeConfig = MISSING
    state_copying: Annotated[str, OneOf(choices.StateCopying)] = MISSING
    probes: dict[str, Any] = field(default_factory=dict)
    limit: Size | None = None
    batch_size: Batch = MISSING
    seed: Seed = MISSING
    device: Annotated[str, OneOf(choices.Device)] = MISSING
    runs_dir: Path = MISSING
    figures: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.measure:
            raise InputError("measure: at least one confidence measure is needed, such as measure=[softmax,state]")
        self._refuse_certifying_what_trained()
        for value in self.timing.thresholds:
            if self.threshold.quantiles:
                raise InputError(f"timing.thresholds={value}: quantiles are not known beforehand; use threshold=grid")
            if value not in self.threshold.grid:
                grid = ", ".join(map(str, self.threshold.grid))
                raise InputError(f"timing.thresholds={value} must be one of {grid}")
        if self.model.path is None and self.model.hub is None and self.training.steps == 0:
            raise InputError(
                "training.steps=0: a model from scratch must be trained; choose training=paper or model.path=DIR"
            )
        for name in ("classifier", "mlp_classifier"):
            trained = getattr(self.training, f"{name}_steps") > 0
            if name in self.measure and not trained and (self.training.steps or self.model.path is None):
                raise InputError(
                    f"measure: {name!r} needs learned weights of the very model; train them (training.{name}_steps) or "
                    "give model.path=DIR with some, and no fine-tuning (training.steps=0)"
                )

    def _refuse_certifying_what_trained(self) -> None:
        if self.training.trains and self.training.path is None and self.training.split == self.task.split:
            raise InputError(f"training.split={self.training.split} must be another split than task.split")
        if self.threshold.quantiles and self.threshold.quantiles.split == self.task.split:
            raise InputError(
                f"threshold.quantiles.split={self.task.split} must be another split than task.split: a grid made from "
                "the examples that calibrate voids the promise"
            )

    def require_folders(self) -> None:
        """Raises InputError for a folder that is given and is not there, before what takes seconds is imported."""
        files = "a folder with {train,validation,test}.parquet or .jsonl"
        for group, what in {"model": "a save_pretrained folder", "task": files, "training": files}.items():
            path = getattr(self, group).path
            if path is not None and not os.path.isdir(path):
                raise InputError(f"{group}.path={path} must be {what}; there is no such folder")

    @property
    def from_hub(self) -> dict[str, str]:
        """What comes from the Hugging Face hub, by its group: the model, the data, both or neither."""
        return {
            group: part.hub
            for group, part in (("task", self.task), ("model", self.model))
            if not part.path and part.hub
        }
