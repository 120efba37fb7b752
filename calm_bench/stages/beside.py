"""Stage 5, what else is reported: further metrics of the full model and of every certified rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from calm_bench.calibration import Certificate
from calm_bench.metrics.metric import Metric
from calm_bench.stages.score import Label, Scores


def beside(scores: Scores, metrics: Iterable[Metric], issued: Sequence[Certificate], seed: int) -> list[dict[str, Any]]:
    """One entry per rule and metric: measure, threshold, metric, score (0..100) and its 95% interval, low and high."""
    certified = {Label(certificate.measure, certificate.threshold) for certificate in issued}
    rules = [index for index, rule in enumerate(scores.rules) if index == scores.full or rule in certified]
    entries = []
    for metric in metrics:
        statistics = replace(scores, quality=metric, _statistics={}).statistics(rules)
        for index in rules:
            low, high = metric.interval(statistics[index], seed=seed)
            score = metric.aggregate(statistics[index])
            entries.append(
                {**scores.rules[index]._asdict(), "metric": metric.name, "score": score, "low": low, "high": high}
            )
    return entries
