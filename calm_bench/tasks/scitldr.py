"""SciTLDR: one-sentence summaries of paper abstracts, several per abstract."""

from collections.abc import Mapping
from typing import Any

from calm_bench.errors import InputError
from calm_bench.tasks.task import Example, Task


class SciTldr(Task):
    """An abstract, the summary that training teaches, and every summary that counts as right."""

    columns = ("article", "highlights", "references[]")

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        if not row["references"]:
            raise InputError(f"task {self.name}: references of {row_id} is empty, but must hold at least one summary")
        return Example(
            id=row_id,
            source=self.prompt + row["article"],
            target=row["highlights"],
            references=tuple(row["references"]),
        )
