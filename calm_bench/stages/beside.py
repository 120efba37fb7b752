"""Stage 5, what else is reported: further metrics of the full model and of every certified rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from calm_bench.metrics.metric import Metric
from calm_bench.stages.score import Scored, statistics


def beside(scored: Scored, metrics: Iterable[Metric], rules: Collection[int], seed: int) -> list[dict[str, Any]]:
    """One entry per metric and rule: rule (its number), metric, score (0..100) and its 95% interval, low and high."""
    entries = []
    for metric in metrics:
        known = statistics(metric, scored.generations(), rules, scored.examples)
        for rule in sorted(rules):
            low, high = metric.interval(known[rule], seed=seed)
            score = metric.aggregate(known[rule])
            entries.append({"rule": rule, "metric": metric.name, "score": score, "low": low, "high": high})
    return entries
