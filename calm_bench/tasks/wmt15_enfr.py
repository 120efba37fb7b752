"""WMT15 English to French (section 5 of the CALM paper), and any set with the same columns, such as newstest2014."""

from collections.abc import Mapping, Sequence
from typing import Any

from calm_bench.tasks.task import Example, Task


class Wmt15EnFr(Task):
    """One example per sentence and its translation; the cluster of an id DOCUMENT#SENTENCE is its document."""

    columns = ("translation.en", "translation.fr")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        english, french = row["translation"]["en"], row["translation"]["fr"]
        document = row_id.rpartition("#")[0] or None
        return Example(row_id, self.prompt + english, target=french, references=(french,), cluster=document)

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]]:
        return "a copy of the source", [example.source.removeprefix(self.prompt) for example in examples]
