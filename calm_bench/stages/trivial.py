"""Stage 3, beside the scores: what takes no model to write, and whether the full model is ahead of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from calm_bench.stages.score import Floats
from calm_bench.tasks.task import Example, Task


def trivial(task: Task, examples: Sequence[Example], full: Floats, seed: int) -> dict[str, Any] | None:
    """The task's trivial baseline, by the quality metric; None where it has none.

    full: that metric's statistics of the full model's texts. `name` says what it is; `score`, `low` and `high` are its
    quality (0..100) with its 95% interval, `ahead`, `ahead_low` and `ahead_high` by how much the full model is better,
    resampled together. It is beaten where all of that interval is above 0 (`beaten`).
    """
    baseline = task.trivial(examples)
    if baseline is None:
        return None
    name, texts = baseline
    metric = task.quality
    known = metric.statistics(texts, [example.references for example in examples])
    own = metric.draws(known, seed=seed)
    ahead = metric.draws(full, seed=seed) - own
    (low, high), (ahead_low, ahead_high) = (np.quantile(values, [0.025, 0.975]) for values in (own, ahead))
    score = metric.aggregate(known)
    return {
        "name": name,
        "score": score,
        "low": float(low),
        "high": float(high),
        "ahead": metric.aggregate(full) - score,
        "ahead_low": float(ahead_low),
        "ahead_high": float(ahead_high),
        "beaten": bool(ahead_low > 0),
    }
