"""Stages 4 and 5: the frontier, and what can be promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from calm_bench import bootstrap
from calm_bench.build import build
from calm_bench.calibration import (
    METHODS,
    Method,
    Outcomes,
    Promise,
    Settings,
    cluster_numbers,
    promises,
    smallest_n,
)
from calm_bench.calibration.methods import shared_level
from calm_bench.calibration.parts import random_parts
from calm_bench.calibration.promise import OBJECTIVES, Objective, Unit
from calm_bench.config import CalibrationConfig
from calm_bench.errors import InputError
from calm_bench.progress import each
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
    for rule in each(range(len(outcomes.tokens)), len(outcomes.tokens), "intervals", "rule"):
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
    about, n_promises = calibration, sum(map(len, tolerances.values())) * len(outcomes.grids)
    settings = Settings(
        about.epsilon,
        method,
        about.trials,
        about.fraction,
        about.seed,
        unit=cast(Unit, about.unit),
        together=max(1, n_promises) if about.joint else 1,
    )
    return list(each(promises(outcomes, tolerances, settings), n_promises, "certify", "promise"))


def foresee(calibration: CalibrationConfig, n_grids: int, clusters: Sequence[str | None]) -> list[str]:
    """What is known of the promises before anything is decoded, in a line each: what n cannot certify, and clusters.

    n_grids: measures and baselines that are certified. clusters: of each example. Raises InputError for a unit that is
    not there, for parts that would be empty, and for a probability that the method does not promise.
    """
    numbers, n = cluster_numbers(clusters), len(clusters)
    lines = []
    if calibration.unit == "cluster":
        if numbers is None:
            raise InputError("calibration.unit=cluster: some examples have no cluster; task.cluster names their column")
        n = int(numbers.max()) + 1
    elif numbers is not None and numbers.max() + 1 < n:
        lines.append(
            f"the {n} examples come in {numbers.max() + 1} clusters, whose examples are alike: a promise about later "
            "examples is not one about those of new clusters, which is made by calibration.unit=cluster"
        )
    if calibration.trials:
        random_parts(n, 1, calibration.fraction, calibration.seed)
    method = method_of(calibration)
    tolerances = [(objective, delta) for objective in OBJECTIVES for delta in getattr(calibration, objective)]
    together = max(1, len(tolerances) * n_grids) if calibration.joint else 1
    level = shared_level(method, calibration.epsilon, together)
    for objective, delta in tolerances:
        needed = smallest_n(method, delta, level)
        if needed is None or needed > n:
            fewest = "more than a million" if needed is None else needed
            lines.append(
                f"calibration.{objective}={delta:g}: n = {n} cannot certify it, whatever the losses ({fewest} needed)"
            )
    return lines


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
            held_out = zip(promise.check.rule.tolist(), promise.check.test, strict=True)
            scores += [quality.aggregate(known[rule][part]) for rule, part in held_out]
        tables.append(rows.assign(test_score=scores)[CERTIFICATES.names])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CERTIFICATES.names)
