"""Stage 0: what is decoded and certified. It needs no torch, so that what cannot be read is said at once."""

from __future__ import annotations

import logging

from calm_bench.build import build
from calm_bench.config import Config
from calm_bench.progress import waiting
from calm_bench.stages.promise import foresee
from calm_bench.tasks.task import Example, Task

log = logging.getLogger(__name__)


def data(config: Config) -> tuple[Task, list[Example]]:
    """The task, and its examples that are decoded and certified. Raises InputError."""
    task = build(config.task, Task)
    with waiting("reading the data"):
        examples = task.examples(task.split, config.limit)
    references = [example.references for example in examples]
    doubts = [metric.unsuited(references) for metric in (task.quality, task.similarity, *task.beside.values())]
    n_grids = len(config.measure) + ("static" in config.baselines)
    doubts += foresee(config.calibration, n_grids, [example.cluster for example in examples])
    for doubt in dict.fromkeys(filter(None, doubts)):
        log.warning(doubt)
    return task, examples
