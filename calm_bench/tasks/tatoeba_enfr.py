"""Tatoeba: short everyday sentences, English to French; the bundled demonstration."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from calm_bench.tasks.task import Example, Task


class TatoebaEnFr(Task):
    """One row per (sentence, translation); for evaluation, one example per sentence with all its translations."""

    columns = ("translation.en", "translation.fr")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        english, french = row["translation"]["en"], row["translation"]["fr"]
        return Example(id=row_id, source=self.prompt + english, target=french, references=(french,))

    def merged(self, examples: Sequence[Example]) -> Sequence[Example]:
        """One example per source; it keeps the id and the target of the source's first row."""
        groups: dict[str, Example] = {}
        for example in examples:
            first = groups.setdefault(example.source, example)
            if first is not example:
                groups[example.source] = replace(first, references=first.references + example.references)
        return list(groups.values())
