"""What is promised of a whole run: every objective, tolerance and measure, on all examples and on random splits.

The one way from losses to certificates: a run, later promises, figures and the report all come here with the run's own
settings, so that the same losses are split, certified and tested alike everywhere.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calm_bench.calibration.certificate import Certificate, certify
from calm_bench.calibration.checks import BoolArray, FloatArray
from calm_bench.calibration.clusters import Numbers, cluster_means
from calm_bench.calibration.methods import Guarantee, Method, shared_level
from calm_bench.calibration.parts import part_totals
from calm_bench.calibration.power import nearest_delta
from calm_bench.calibration.promise import Objective, Unit
from calm_bench.calibration.trials import Trials, trials
from calm_bench.errors import InputError

_NAMED = ("objective", "delta", "epsilon", "measure", "method", "unit", "together")


@dataclass(frozen=True)
class Grid:
    """The K rules of a confidence measure, or of the static baseline, thresholds strictly descending.

    thresholds: in (0, 1], the layers of static, (K,). rules: which rows of `Outcomes` they are, (K,).
    """

    measure: str
    thresholds: FloatArray
    rules: np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """What R rules did on E examples: all that certificates are made from.

    losses: of each objective, in [0, 1], (R, E).
    tokens: generated, (R, E). layers: sums of exit layers, (R, E).
    flops: of the decoder, (R, E), as FLOPs reductions count them.
    full: the full model's row. grids: one for each measure, and for the static baseline where it was decoded.
    clusters: the number of each example's, (E,); None where they are not known.
    """

    losses: Mapping[Objective, FloatArray]
    tokens: FloatArray
    layers: FloatArray
    flops: FloatArray
    full: int
    grids: Sequence[Grid]
    clusters: Numbers | None = None

    def units(self, unit: Unit) -> Numbers:
        """Which calibration unit each example belongs to, numbers from 0, (E,). Raises InputError without clusters."""
        if unit == "example":
            return np.arange(self.tokens.shape[1])
        if self.clusters is None:
            raise InputError("calibration.unit=cluster: some examples have no cluster; task.cluster names their column")
        return self.clusters

    def mean_exit_layer(self, rule: int) -> float:
        """Layers per token of a rule on all examples."""
        return float(self.layers[rule].sum() / self.tokens[rule].sum())

    def flops_reduction(self, rule: int) -> float:
        """Decoder FLOPs per token of the full model over the rule's; below 1 means that the rule costs more."""
        full, own = (self.flops[row].sum() / self.tokens[row].sum() for row in (self.full, rule))
        return float(full / own)


@dataclass(frozen=True)
class Settings:
    """How promises are made and checked.

    epsilon: probability with which a promise, or any of `together` promises, may fail, in (0, 1). trials: random splits
    that check each promise, 0 for none. fraction: of the units that a trial calibrates on. seed: of the splits; equal
    seeds split equally many units alike. unit: what was drawn, "example" or "cluster".
    """

    epsilon: float
    method: Method
    trials: int
    fraction: float
    seed: int
    unit: Unit = "example"
    together: int = 1


@dataclass(frozen=True)
class Check:
    """What the trials of a promise certified, and how it fared on the held-out part of each, all (trials,).

    trials: over calibration units. test: where an example was held out, (trials, E).
    rule: the certified one, as a row of `Outcomes`; the full model's where no threshold was accepted.
    test_loss: mean over units, as the promise is about.
    """

    trials: Trials
    test: BoolArray
    rule: np.ndarray
    test_loss: FloatArray
    mean_exit_layer: FloatArray
    flops_reduction: FloatArray


@dataclass(frozen=True)
class Promise:
    """The certificate on all examples for one objective, δ and measure; its rule and what that costs; and its check.

    guarantee: of the method. rule: as in `Check`. check: None where no trials were asked for. nearest: where only the
    full model keeps the promise, the smallest tolerance that these losses certify, and its rule; None if there is none.
    """

    certificate: Certificate
    guarantee: Guarantee
    rule: int
    mean_exit_layer: float
    flops_reduction: float
    check: Check | None
    nearest: tuple[float, int] | None

    def rows(self) -> list[dict[str, Any]]:
        """As a table has them: a row certified on all examples (trial and test_loss None), then one for each trial."""
        about = self.certificate
        names = {name: getattr(about, name) for name in _NAMED}
        names["guarantee"] = self.guarantee
        whole = {
            **names,
            "trial": None,
            "n_calibration": about.n,
            "rule": self.rule,
            "p_value": about.p_value,
            "nearest_delta": self.nearest[0] if self.nearest else np.nan,
            "nearest_rule": self.nearest[1] if self.nearest else None,
            "test_loss": None,
            "mean_exit_layer": self.mean_exit_layer,
            "flops_reduction": self.flops_reduction,
        }
        if self.check is None:
            return [whole]
        columns = {
            "rule": self.check.rule,
            "p_value": self.check.trials.p_values,
            "test_loss": self.check.test_loss,
            "mean_exit_layer": self.check.mean_exit_layer,
            "flops_reduction": self.check.flops_reduction,
        }
        n, nothing = self.check.trials.n_calibration, {"nearest_delta": np.nan, "nearest_rule": None}
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            whole,
            *(
                {**whole, "trial": trial, "n_calibration": n, **nothing, **dict(zip(columns, row, strict=True))}
                for trial, row in enumerate(values)
            ),
        ]


def promises(
    outcomes: Outcomes,
    tolerances: Mapping[Objective, Sequence[float]],
    settings: Settings,
    measures: Collection[str] | None = None,
) -> Iterator[Promise]:
    """Certify each measure for each objective and each of its tolerances δ, in this order: objective, δ, measure.

    `measures`: only these, if given. Raises InputError as `certify` and `trials` do.
    """
    for objective, deltas in tolerances.items():
        for delta in deltas:
            for grid in outcomes.grids:
                if measures is None or grid.measure in measures:
                    yield _promise(outcomes, objective, delta, grid, settings)


def _promise(outcomes: Outcomes, objective: Objective, delta: float, grid: Grid, settings: Settings) -> Promise:
    losses = outcomes.losses[objective][grid.rules]
    if settings.unit == "cluster":
        losses = cluster_means(losses, outcomes.units("cluster"))
    certificate = certify(
        losses,
        grid.thresholds,
        objective=objective,
        delta=delta,
        epsilon=settings.epsilon,
        measure=grid.measure,
        method=settings.method,
        unit=settings.unit,
        together=settings.together,
    )
    level = shared_level(settings.method, settings.epsilon, settings.together)
    nearest = None
    if certificate.index is None and (found := nearest_delta(losses, grid.thresholds, settings.method, delta, level)):
        nearest = found[0], int(grid.rules[found[1]])
    rule = outcomes.full if certificate.index is None else int(grid.rules[certificate.index])
    return Promise(
        certificate,
        settings.method.guarantee,
        rule,
        outcomes.mean_exit_layer(rule),
        outcomes.flops_reduction(rule),
        _check(outcomes, losses, delta, level, grid, settings) if settings.trials else None,
        nearest,
    )


def _check(outcomes: Outcomes, losses: FloatArray, delta: float, level: float, grid: Grid, settings: Settings) -> Check:
    """Repeated random splits: certify on one part, measure on the other (CALM, section 5 and appendix B).

    losses: of the grid's thresholds and each calibration unit, (K, units). level: at which each promise is tested.
    """
    tried = trials(
        losses,
        grid.thresholds,
        delta=delta,
        epsilon=level,
        method=settings.method,
        n_trials=settings.trials,
        calibration_fraction=settings.fraction,
        seed=settings.seed,
    )
    by_example = tried.seen_as(outcomes.units(settings.unit))

    def held_out(values: FloatArray) -> FloatArray:
        return by_example.test_means(values[grid.rules], values[outcomes.full])

    test, full = by_example.test, outcomes.full
    full_flops = part_totals(np.stack([outcomes.flops[full], outcomes.tokens[full]]), test)
    tokens = held_out(outcomes.tokens)
    return Check(
        trials=tried,
        test=test,
        rule=np.where(tried.index < 0, full, grid.rules[tried.index]),
        test_loss=tried.test_means(losses, np.zeros(losses.shape[1])),
        mean_exit_layer=held_out(outcomes.layers) / tokens,
        flops_reduction=full_flops[:, 0] / full_flops[:, 1] / (held_out(outcomes.flops) / tokens),
    )
