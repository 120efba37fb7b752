"""SciTLDR: one-sentence summaries of paper abstracts, several per abstract."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from calm_bench.errors import InputError
from calm_bench.tasks.sentences import first_sentences
from calm_bench.tasks.task import Example, Task


class SciTldr(Task):
    """An abstract, the summary that training teaches, and every summary that counts as right."""

    columns = ("article", "highlights", "references[]")
    lead: ClassVar[int] = 1
    """Sentences of the trivial text."""

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        if not row["references"]:
            raise InputError(f"task {self.name}: references of {row_id} is empty, but must hold at least one summary")
        return Example(
            id=row_id,
            source=self.prompt + row["article"],
            target=row["highlights"],
            references=tuple(row["references"]),
        )

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]]:
        articles = [example.source.removeprefix(self.prompt) for example in examples]
        name = "the first sentence" if self.lead == 1 else f"the first {self.lead} sentences"
        return name, [first_sentences(article, self.lead) for article in articles]
