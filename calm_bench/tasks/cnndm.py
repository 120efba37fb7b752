"""CNN/DailyMail summarisation (section 5 of the CALM paper)."""

from collections.abc import Mapping, Sequence
from typing import Any

from calm_bench.tasks.sentences import first_sentences
from calm_bench.tasks.task import Example, Task


class CnnDm(Task):
    """An article and its highlights, one sentence per line."""

    columns = ("article", "highlights")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        summary = row["highlights"]
        return Example(id=row_id, source=self.prompt + row["article"], target=summary, references=(summary,))

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]]:
        articles = [example.source.removeprefix(self.prompt) for example in examples]
        return "the first three sentences", [first_sentences(article, 3) for article in articles]
