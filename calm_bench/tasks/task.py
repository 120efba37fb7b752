"""A task: a data set, how its rows become prompts and targets, and how answers to it are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from calm_bench.errors import InputError
from calm_bench.tasks import files

if TYPE_CHECKING:
    import datasets

    from calm_bench.metrics.metric import Metric


@dataclass(frozen=True)
class Example:
    """One row of a task, as text."""

    id: str
    source: str
    """What the encoder reads, prompt included."""
    target: str
    """What training teaches."""
    references: tuple[str, ...]
    """Every text that counts as right, one or more."""
    passage: str = ""
    """What a right text quotes word by word, as the data have it; empty where texts are the model's own."""
    cluster: str | None = None
    """What it shares with other examples that are like it, such as the article that it comes from."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Base of all tasks; the fields are the lines of conf/task/NAME.yaml. A subclass says `columns` and `example`.

    `path` is a local folder with {train,validation,test}.parquet or .jsonl. Without one (null) the data set `hub` is
    loaded from the Hugging Face hub.
    """

    name: str
    path: str | None
    hub: str | None
    hub_config: str | None
    split: str
    """The split that is decoded, scored and certified."""
    prompt: str
    """Set before every source, its last space included."""
    max_source_tokens: int
    max_new_tokens: int
    tau: Mapping[str, float]
    """Temperature of the decaying threshold, for each measure (section 3.3.2 of the CALM paper)."""
    cluster: str | None = None
    """The column that says which examples come together, such as an article's title; data may lack it."""
    quality: Metric
    """What tables report."""
    similarity: Metric
    """m in the losses D = R = 1 - m, per example in [0, 1]."""
    beside: Mapping[str, Metric] = field(default_factory=dict)
    """Further metrics of the full model and of every certified rule, under names of their own."""
    sample_seed: int

    columns: ClassVar[tuple[str, ...]]
    """Text columns the files must have: "article", a field of a struct "translation.en", a list "references[]"."""

    @abstractmethod
    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        """The example that a row of the files stands for."""

    def has_split(self, split: str) -> bool:
        """Whether the data set has this split. Asks the hub when there is no local path."""
        return split in files.splits(self.path, self.hub, self.hub_config)

    def rows(self, split: str) -> datasets.Dataset:
        """Training rows with the columns id, source, target: one for each pair, in file order.

        Rows become text only when they are read (`rows[3]`, `rows[:8]`, iteration or a data loader), so a set of any
        size costs nothing here; whole columns (`rows["source"]`) are not available. Raises InputError as `examples`.
        """

        def pairs(batch: dict[str, list[Any]]) -> dict[str, list[str]]:
            rows = (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
            examples = [self._example(row, split) for row in rows]
            return {field: [getattr(example, field) for example in examples] for field in ("id", "source", "target")}

        return self._load(split).with_transform(pairs)

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Examples for evaluation, in file order.

        limit: use a random sample of this size, drawn without replacement from `sample_seed` (files are often sorted
        by length); a larger limit contains a smaller one. At least 1; None, or more than there are, takes all.
        Raises InputError for a folder, split, column or value that is missing.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit} must be at least 1, or null for the whole split")
        examples = self.merged([self._example(row, split) for row in self._load(split)])
        repeated = [example_id for example_id, count in Counter(e.id for e in examples).items() if count > 1]
        if repeated:
            raise InputError(f"task {self.name}: id {repeated[0]!r} stands twice in split {split}, but must be unique")
        chosen = np.random.default_rng(self.sample_seed).permutation(len(examples))[:limit]
        return [examples[index] for index in np.sort(chosen)]

    def as_written(self, text: str, example: Example) -> str:
        """A decoded text as it is recorded and scored: in the writing of the references. Here it is that already."""
        return text

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]] | None:
        """What takes no model to write: in words, and the text for each example. None where the task names nothing."""
        return None

    def merged(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Evaluation examples, once rows that belong together have become one. Here every row stands alone."""
        return examples

    def _load(self, split: str) -> datasets.Dataset:
        """The columns of the split that are needed, its id and cluster if it has them, and `row`, the index."""
        extra = ("id", *filter(None, [self.cluster]))
        dataset = files.load(self.path, self.hub, self.hub_config, split, self.columns, extra)
        needed = {column.removesuffix("[]").split(".")[0] for column in (*self.columns, *extra)}
        dataset = dataset.select_columns([column for column in dataset.column_names if column in needed])
        return dataset.add_column("row", np.arange(len(dataset)))

    def _example(self, row: Mapping[str, Any], split: str) -> Example:
        example = self.example(row, str(row.get("id", f"{split}-{row['row']}")))
        cluster = row.get(self.cluster) if self.cluster else None
        return example if cluster is None else replace(example, cluster=str(cluster))
