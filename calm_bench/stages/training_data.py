"""What trains, and what chooses the best checkpoint: never the examples that are certified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from calm_bench.errors import InputError
from calm_bench.tasks.task import Example, Task

if TYPE_CHECKING:
    import datasets

HELD_OUT = 0.1  # of the training split at most, where the validation split is not free


def require_splits(task: Task, split: str) -> None:
    """Raises InputError where the task has no `split` to train on, or none to choose checkpoints by."""
    place = task.path or task.hub
    if not task.has_split(split):
        raise InputError(
            f"training: task {task.name} has no {split} split at {place}; give a folder that has one with "
            "training.path=DIR, or take a fine-tuned model as it is with training=none model.path=DIR"
        )
    if validation_is_free(task, split) and not task.has_split("validation"):
        raise InputError(
            f"training: task {task.name} has no validation split at {place}, by which checkpoints are chosen; add "
            "validation.parquet or .jsonl, or give a folder that has one with training.path=DIR"
        )


def training_data(task: Task, split: str, validation_examples: int) -> tuple[datasets.Dataset, list[Example]]:
    """Training rows and validation examples.

    Validation is a sample of the validation split. Where that split trains, or is certified (`task.split`), it is a
    sample of the training split instead, at most a tenth of it, and no row that shares a source with the sample trains.
    """
    rows = task.rows(split)
    if validation_is_free(task, split):
        return rows, task.examples("validation", validation_examples)
    held_out = task.examples(split, min(validation_examples, max(1, int(HELD_OUT * len(rows)))))
    sources = {example.source for example in held_out}
    found = (source for batch in _batches(rows) for source in batch["source"])
    kept = [index for index, source in enumerate(found) if source not in sources]
    if not kept:
        raise InputError(f"training.split={split}: {len(rows)} rows are too few to hold some out for validation")
    return rows.select(kept), held_out


def texts(rows: datasets.Dataset) -> Iterator[str]:
    """Sources and targets of all rows."""
    for batch in _batches(rows):
        yield from batch["source"]
        yield from batch["target"]


def validation_is_free(task: Task, split: str) -> bool:
    """Whether the validation split may choose checkpoints: it neither trains nor is certified."""
    return "validation" not in (split, task.split)


def _batches(rows: datasets.Dataset, size: int = 1000) -> Iterator[dict[str, list[str]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
