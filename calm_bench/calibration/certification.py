"""What is promised of a whole run: every objective, tolerance and measure, on all examples and on random splits.

The one way from losses to certificates: a run, later promises, figures and the report all come here with the run's own
settings, so that the same losses are split, certified and tested alike everywhere.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calm_bench.calibration.certificate import Certificate, certify
from calm_bench.calibration.checks import FloatArray
from calm_bench.calibration.methods import Guarantee, Method
from calm_bench.calibration.parts import part_totals
from calm_bench.calibration.promise import Objective
from calm_bench.calibration.trials import Trials, trials


@dataclass(frozen=True)
class Grid:
    """A confidence measure's K rules, thresholds strictly descending.

    thresholds: in (0, 1], (K,). rules: which rows of `Outcomes` they are, (K,).
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
    full: the full model's row. grids: one for each measure.
    """

    losses: Mapping[Objective, FloatArray]
    tokens: FloatArray
    layers: FloatArray
    flops: FloatArray
    full: int
    grids: Sequence[Grid]

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

    epsilon: probability with which a promise may fail, in (0, 1). trials: random splits that check each promise, 0 for
    none. fraction: of the examples that a trial calibrates on. seed: of the splits; equal seeds split equally many
    examples alike.
    """

    epsilon: float
    method: Method
    trials: int
    fraction: float
    seed: int


@dataclass(frozen=True)
class Check:
    """What the trials of a promise certified, and how it fared on the held-out part of each, all (trials,).

    rule: the certified one, as a row of `Outcomes`; the full model's where no threshold was accepted.
    """

    trials: Trials
    rule: np.ndarray
    test_loss: FloatArray
    mean_exit_layer: FloatArray
    flops_reduction: FloatArray


@dataclass(frozen=True)
class Promise:
    """The certificate on all examples for one objective, δ and measure; its rule and what that costs; and its check.

    guarantee: of the method. rule: as in `Check`. check: None where no trials were asked for.
    """

    certificate: Certificate
    guarantee: Guarantee
    rule: int
    mean_exit_layer: float
    flops_reduction: float
    check: Check | None

    def rows(self) -> list[dict[str, Any]]:
        """As a table has them: a row certified on all examples (trial and test_loss None), then one for each trial."""
        about = self.certificate
        names = {name: getattr(about, name) for name in ("objective", "delta", "epsilon", "measure", "method")}
        names["guarantee"] = self.guarantee
        whole = {
            **names,
            "trial": None,
            "n_calibration": about.n,
            "rule": self.rule,
            "p_value": about.p_value,
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
        n = self.check.trials.n_calibration
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            whole,
            *(
                {**names, "trial": trial, "n_calibration": n, **dict(zip(columns, row, strict=True))}
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
    certificate = certify(
        outcomes.losses[objective][grid.rules],
        grid.thresholds,
        objective=objective,
        delta=delta,
        epsilon=settings.epsilon,
        measure=grid.measure,
        method=settings.method,
    )
    rule = outcomes.full if certificate.index is None else int(grid.rules[certificate.index])
    check = _check(outcomes, objective, delta, grid, settings) if settings.trials else None
    return Promise(
        certificate,
        settings.method.guarantee,
        rule,
        outcomes.mean_exit_layer(rule),
        outcomes.flops_reduction(rule),
        check,
    )


def _check(outcomes: Outcomes, objective: Objective, delta: float, grid: Grid, settings: Settings) -> Check:
    """Repeated random splits: certify on one part, measure on the other (CALM, section 5 and appendix B)."""
    tried = trials(
        outcomes.losses[objective][grid.rules],
        grid.thresholds,
        delta=delta,
        epsilon=settings.epsilon,
        method=settings.method,
        n_trials=settings.trials,
        calibration_fraction=settings.fraction,
        seed=settings.seed,
    )

    def held_out(values: FloatArray) -> FloatArray:
        return tried.test_means(values[grid.rules], values[outcomes.full])

    full_flops = part_totals(np.stack([outcomes.flops[outcomes.full], outcomes.tokens[outcomes.full]]), tried.test)
    tokens = held_out(outcomes.tokens)
    return Check(
        trials=tried,
        rule=np.where(tried.index < 0, outcomes.full, grid.rules[tried.index]),
        test_loss=held_out(outcomes.losses[objective]),
        mean_exit_layer=held_out(outcomes.layers) / tokens,
        flops_reduction=full_flops[:, 0] / full_flops[:, 1] / (held_out(outcomes.flops) / tokens),
    )
