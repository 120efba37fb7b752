"""Stages 4 and 5: the frontier, and what can be promised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calm_bench import bootstrap
from calm_bench.build import build
from calm_bench.calibration import METHODS, Certificate, Method, certify, trials
from calm_bench.calibration.promise import Objective
from calm_bench.config import CalibrationConfig
from calm_bench.records.schema import CERTIFICATES
from calm_bench.stages.score import Floats, Scores

RESAMPLES = 1000


def frontier(scores: Scores, seed: int) -> pd.DataFrame:
    """One row per rule: quality and cost with 95% bootstrap intervals over examples; seconds are still missing."""
    layers, layers_low, layers_high = bootstrap.ratio(scores.layers, scores.tokens, seed=seed, resamples=RESAMPLES)
    rows = []
    every = scores.statistics(range(len(scores.rules)))
    for index, rule in enumerate(scores.rules):
        statistics = every[index]
        low, high = scores.quality.interval(statistics, resamples=RESAMPLES, seed=seed)
        rows.append(
            {
                "measure": rule.measure,
                "threshold": rule.threshold,
                "n": scores.tokens.shape[1],
                "score": scores.quality.aggregate(statistics),
                "score_low": low,
                "score_high": high,
                "mean_exit_layer": layers[index],
                "mean_exit_layer_low": layers_low[index],
                "mean_exit_layer_high": layers_high[index],
                "flops_reduction": _reduction(scores, scores.flops_elbayad, index),
                "flops_reduction_t5": _reduction(scores, scores.flops, index),
                "textual_loss": scores.textual[index].mean(),
                "risk_loss": scores.risk[index].mean(),
            }
        )
    return pd.DataFrame(rows)


def method_of(settings: CalibrationConfig, within: Sequence[str] | None = None) -> Method:
    """The calibration method, by its name or from the class that is described; `within` as for `build`."""
    name = settings.method
    return METHODS[name] if isinstance(name, str) else build(name, Method, within)


def certificates(scores: Scores, settings: CalibrationConfig, method: Method) -> tuple[pd.DataFrame, list[Certificate]]:
    """Certify every objective, tolerance and measure.

    Returns:
        The certificates table: a row certified on all examples (trial null, nothing held out), and a row for each
        trial, whose test columns are measured on its held-out examples.
        The certificates of the first kind, with their promises.
    """
    rows, issued = [], []
    kinds: list[tuple[Objective, Floats]] = [("textual", scores.textual), ("risk", scores.risk)]
    for objective, losses in kinds:
        for delta in getattr(settings, objective):
            for measure in scores.measures:
                indices = scores.rows_of(measure)
                grid = [float(scores.rules[index].threshold or 0) for index in indices]
                asked = {"delta": delta, "epsilon": settings.epsilon, "method": method}
                certificate = certify(losses[indices], grid, objective=objective, measure=measure, **asked)
                issued.append(certificate)
                chosen = scores.full if certificate.index is None else indices[certificate.index]
                names = {
                    "objective": objective,
                    "delta": delta,
                    "epsilon": settings.epsilon,
                    "measure": measure,
                    "method": method.name,
                    "guarantee": method.guarantee,
                }
                rows.append(
                    {
                        **names,
                        "trial": None,
                        "n_calibration": certificate.n,
                        "threshold": certificate.threshold,
                        "p_value": certificate.p_value,
                        "test_loss": None,
                        "test_score": None,
                        **_costs(scores, chosen, np.ones(certificate.n, np.bool_)),
                    }
                )
                if settings.trials:
                    rows += [{**names, **row} for row in _trials(scores, losses, indices, grid, asked, settings)]
    return pd.DataFrame(rows, columns=CERTIFICATES.names), issued


def _trials(
    scores: Scores,
    losses: Floats,
    indices: list[int],
    grid: list[float],
    asked: dict[str, object],
    settings: CalibrationConfig,
) -> list[dict[str, object]]:
    """Repeated random splits: certify on one part, measure on the other (CALM, section 5 and appendix B)."""
    result = trials(
        losses[indices],
        grid,
        n_trials=settings.trials,
        calibration_fraction=settings.fraction,
        seed=settings.seed,
        **asked,  # type: ignore[arg-type]
    )
    rows = []
    rules = [scores.full if place < 0 else indices[place] for place in result.index]
    statistics = scores.statistics(rules)
    for trial, (place, chosen, test) in enumerate(zip(result.index, rules, result.test, strict=True)):
        rows.append(
            {
                "trial": trial,
                "n_calibration": result.n_calibration,
                "threshold": None if place < 0 else grid[place],
                "p_value": result.p_values[trial],
                "test_loss": losses[chosen, test].mean(),
                "test_score": scores.quality.aggregate(statistics[chosen][test]),
                **_costs(scores, chosen, test),
            }
        )
    return rows


def _costs(scores: Scores, rule: int, part: np.ndarray) -> dict[str, float]:
    return {
        "mean_exit_layer": scores.layers[rule, part].sum() / scores.tokens[rule, part].sum(),
        "flops_reduction": _reduction(scores, scores.flops_elbayad, rule, part),
    }


def _reduction(scores: Scores, flops: Floats, rule: int, part: np.ndarray | slice = slice(None)) -> float:
    """Decoder FLOPs per token of the full model over the rule's; below 1 means that the rule costs more."""
    per_token = flops[:, part].sum(1) / scores.tokens[:, part].sum(1)
    return float(per_token[scores.full] / per_token[rule])
