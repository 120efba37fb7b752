"""What trains, and what chooses the best checkpoint: never the examples that are certified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from calm_bench.errors import InputError
from calm_bench.stages.leakage import batches, without
from calm_bench.tasks.task import Example, Task

if TYPE_CHECKING:
    import datasets

HELD_OUT = 0.1  # of the training split at most, where the validation split is not free
LETTERS = 5_000_000  # that a vocabulary is learnt from; more of them cost minutes and gigabytes
FOR_GRIDS = 1000  # rows of a split, a tenth of it at most, that no learned measure is trained on


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


def training_data(
    task: Task, split: str, validation_examples: int, left_out: frozenset[str] = frozenset()
) -> tuple[datasets.Dataset, list[Example]]:
    """Training rows and validation examples, none of them with a source in `left_out`.

    Validation is a sample of the validation split. Where that split trains, or is certified (`task.split`), it is a
    sample of the training split instead, at most a tenth of it, and no row that shares a source with the sample trains.
    """
    rows = task.rows(split)
    if validation_is_free(task, split):
        return without(rows, left_out), _without(task.examples("validation", validation_examples), left_out)
    held_out = task.examples(split, min(validation_examples, max(1, int(HELD_OUT * len(rows)))))
    kept = without(rows, left_out.union(example.source for example in held_out))
    if not len(kept):
        raise InputError(f"training.split={split}: {len(rows)} rows are too few to hold some out for validation")
    return kept, _without(held_out, left_out)


def grid_sources(task: Task, split: str, count: int, left_out: frozenset[str] = frozenset()) -> list[str]:
    """Sources of at most `count` random rows of a split, none of them in `left_out`: what a grid is made from."""
    drawn = batches(_shuffled(task, task.rows(split), count))
    return [source for batch in drawn for source in batch["source"] if source not in left_out]


def measure_sources(task: Task, split: str, rows: datasets.Dataset, count: int) -> list[str]:
    """At most `count` distinct sources of a split's training rows, in random order, none of which makes a grid."""
    taken = frozenset(grid_sources(task, split, min(FOR_GRIDS, len(task.rows(split)) // 10)))
    found: dict[str, None] = {}
    for batch in batches(_shuffled(task, without(rows, taken))):
        found |= dict.fromkeys(batch["source"])
        if len(found) >= count:
            break
    return list(found)[:count]


def vocabulary_texts(task: Task, rows: datasets.Dataset) -> Iterator[str]:
    """Sources and targets of training rows in random order, up to `LETTERS`: what a tokenizer is learnt from."""
    letters = 0
    for batch in batches(_shuffled(task, rows)):
        for text in (*batch["source"], *batch["target"]):
            letters += len(text)
            if letters > LETTERS:
                return
            yield text


def validation_is_free(task: Task, split: str) -> bool:
    """Whether the validation split may choose checkpoints: it neither trains nor is certified."""
    return "validation" not in (split, task.split)


def _without(examples: list[Example], sources: frozenset[str]) -> list[Example]:
    return [example for example in examples if example.source not in sources]


def _shuffled(task: Task, rows: datasets.Dataset, count: int | None = None) -> datasets.Dataset:
    return rows.select(np.random.default_rng(task.sample_seed).permutation(len(rows))[:count])
