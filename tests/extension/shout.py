"""A task written outside the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calm_bench.tasks.task import Example, Task


@dataclass(frozen=True, kw_only=True)
class Shout(Task):
    """Repeat an English sentence in capitals; `mark` is an option of this task's own."""

    mark: str
    columns = ("translation.en",)

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        text = row["translation"]["en"]
        target = text.upper() + self.mark
        return Example(row_id, self.prompt + text, target, (target,))
