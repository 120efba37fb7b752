"""No row that trains, chooses a checkpoint or makes a grid may be certified, wherever it lies and whatever its name.

A few sentences stand in any two large sets; those are left out. More is the same data under two names, and is refused.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from calm_bench import processes
from calm_bench.errors import InputError
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.stages import identity
from calm_bench.tasks.task import Task

if TYPE_CHECKING:
    import datasets

log = logging.getLogger(__name__)

TRAINING_FILE = "training.json"  # beside a checkpoint that the suite has trained
CHANCE = 0.01  # of the certified examples


def certified_sources(role: str, other: Task, split: str, certified: Task, cache: StageCache) -> frozenset[str]:
    """Sources of `certified`'s split that rows of `other`'s `split` have too: what must be left out there.

    The sources are compared, letter by letter, prompts included. Of a large set that takes minutes, so it is kept.

    Args:
        role: what the split is for, with the option that chose it: the beginning of a message.

    Raises:
        InputError: more than 1% of the examples that are certified stand there.
    """
    key = {"rows": identity.of_task(other, split), "certified": identity.of_task(certified, certified.split)}
    found: dict[str, Any] = {}
    with cache.hold_together("leakage", key) as folder:
        if processes.is_first():
            found = _compared(Chunks(folder, 1), other, split, certified)
            if not _by_chance(found):
                shutil.rmtree(folder)
    found = processes.agree(found)
    common, total = frozenset(found["common"]), found["certified"]
    if not _by_chance(found):
        raise InputError(
            f"{role}: {len(common)} of the {total} examples of task.split={certified.split} stand in it too, and what "
            "is certified may not train, choose a checkpoint or make a grid; give another split, or another folder"
        )
    if common:
        log.warning("%s: %d of the %d certified examples stand in it too, and are left out", role, len(common), total)
    return common


def trained_on(checkpoint: str | None) -> list[str]:
    """What the training of a checkpoint of the suite has read (`identity.of_splits`); nothing known of any other."""
    try:
        known = json.loads((Path(checkpoint or "") / TRAINING_FILE).read_text(encoding="utf-8"))["trained_on"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [str(word) for word in known] if isinstance(known, list) else []


def refuse_trained_on(checkpoint: str | None, certified: Task) -> None:
    """Raise InputError where a checkpoint says that the very split that is certified has trained or chosen it."""
    if set(trained_on(checkpoint)).intersection(identity.of_splits(certified, certified.split)):
        raise InputError(
            f"model.path={checkpoint}: {TRAINING_FILE} says that task.split={certified.split} trained or chose it, "
            "and what is certified may do neither; give another split, or another model"
        )


def _compared(kept: Chunks, other: Task, split: str, certified: Task) -> dict[str, Any]:
    """`certified`, how many sources are; `common`, those that rows of `split` have too."""
    if not kept.done(0):
        examples = {example.source for example in certified.examples(certified.split)}
        common = examples.intersection(source for batch in batches(other.rows(split)) for source in batch["source"])
        sources = pa.table({"source": pa.array(sorted(common), pa.string())})
        kept.write(0, {"common": sources, "certified": pa.table({"count": [len(examples)]})})
    counts, sources = kept.read(0, "certified"), kept.read(0, "common")
    return {"certified": counts["count"][0].as_py(), "common": sources["source"].to_pylist()}


def _by_chance(found: dict[str, Any]) -> bool:
    return len(found["common"]) <= CHANCE * found["certified"]


def batches(rows: datasets.Dataset, size: int = 1000) -> Iterator[dict[str, list[str]]]:
    """Training rows, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def without(rows: datasets.Dataset, sources: frozenset[str]) -> datasets.Dataset:
    """The rows with other sources than these."""
    if not sources:
        return rows
    found = (source for batch in batches(rows) for source in batch["source"])
    return rows.select([index for index, source in enumerate(found) if source not in sources])
