"""Stages 4 and 5: the frontier, and what can be promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from calm_bench import bootstrap
from calm_bench.build import build
from calm_bench.calibration import METHODS, Method, Outcomes, Promise, Settings, promises
from calm_bench.calibration.promise import Objective
from calm_bench.config import CalibrationConfig
from calm_bench.records.schema import CERTIFICATES
from calm_bench.stages.score import Floats, Statistics

if TYPE_CHECKING:
    from calm_bench.metrics.metric import Metric

RESAMPLES = 1000


def frontier(outcomes: Outcomes, flops_t5: Floats, quality: Metric, statistics: Statistics, seed: int) -> pd.DataFrame:
    """One row per rule: quality and cost with 95% bootstrap intervals over examples; seconds are still missing.

    flops_t5: FLOPs as truly counted for T5, (R, E). statistics: of the quality metric, for every rule.
    """
    layers, layers_low, layers_high = bootstrap.ratio(outcomes.layers, outcomes.tokens, seed=seed, resamples=RESAMPLES)
    truly = replace(outcomes, flops=flops_t5)
    rows = []
    for rule in range(len(outcomes.tokens)):
        low, high = quality.interval(statistics[rule], resamples=RESAMPLES, seed=seed)
        rows.append(
            {
                "rule": rule,
                "n": outcomes.tokens.shape[1],
                "score": quality.aggregate(statistics[rule]),
                "score_low": low,
                "score_high": high,
                "mean_exit_layer": layers[rule],
                "mean_exit_layer_low": layers_low[rule],
                "mean_exit_layer_high": layers_high[rule],
                "flops_reduction": outcomes.flops_reduction(rule),
                "flops_reduction_t5": truly.flops_reduction(rule),
                "textual_loss": outcomes.losses["textual"][rule].mean(),
                "risk_loss": outcomes.losses["risk"][rule].mean(),
            }
        )
    return pd.DataFrame(rows)


def method_of(calibration: CalibrationConfig, within: Sequence[str] | None = None) -> Method:
    """The calibration method, by its name or from the class that is described; `within` as for `build`."""
    name = calibration.method
    return METHODS[name] if isinstance(name, str) else build(name, Method, within)


def make_promises(outcomes: Outcomes, calibration: CalibrationConfig, method: Method) -> list[Promise]:
    """The promise of every objective, tolerance and measure that the options ask for."""
    tolerances: dict[Objective, list[float]] = {"textual": calibration.textual, "risk": calibration.risk}
    about = calibration
    settings = Settings(about.epsilon, method, about.trials, about.fraction, about.seed)
    return list(promises(outcomes, tolerances, settings))


def certificates(
    issued: Collection[Promise], quality: Metric, statistics: Callable[[Collection[int]], Statistics]
) -> pd.DataFrame:
    """The table of that name: for each promise a row on all examples, and a row for each trial.

    statistics: gives the quality metric's for these rules, of which a large grid has many that no trial certified.
    """
    checks = [promise.check for promise in issued if promise.check]
    known = statistics({int(rule) for check in checks for rule in check.rule}) if checks else {}
    tables = []
    for promise in issued:
        rows = pd.DataFrame(promise.rows(), columns=[name for name in CERTIFICATES.names if name != "test_score"])
        scores = [np.nan]
        if promise.check:
            held_out = zip(promise.check.rule.tolist(), promise.check.trials.test, strict=True)
            scores += [quality.aggregate(known[rule][part]) for rule, part in held_out]
        tables.append(rows.assign(test_score=scores)[CERTIFICATES.names])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CERTIFICATES.names)
