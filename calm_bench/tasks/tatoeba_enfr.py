"""Tatoeba: short everyday sentences, English to French; the bundled demonstration."""

from collections.abc import Sequence
from dataclasses import replace

from calm_bench.tasks.task import Example
from calm_bench.tasks.wmt15_enfr import Wmt15EnFr


class TatoebaEnFr(Wmt15EnFr):
    """Columns as WMT15, but a sentence stands in as many rows as it has translations."""

    def merged(self, examples: Sequence[Example]) -> Sequence[Example]:
        """One example per source, with all its translations; id and target are those of its first row."""
        groups: dict[str, Example] = {}
        for example in examples:
            first = groups.get(example.source)
            groups[example.source] = (
                replace(first, references=first.references + example.references) if first else example
            )
        return list(groups.values())
