"""A task of your own: which columns become prompt, target and references."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calm_bench.tasks.task import Example, Task


@dataclass(frozen=True, kw_only=True)
class Shout(Task):
    """Repeat an English sentence in capitals, with a `mark` behind it."""

    mark: str
    columns = ("translation.en",)

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        """The example that a row of the files stands for."""
        text = row["translation"]["en"]
        target = text.upper() + self.mark
        return Example(row_id, self.prompt + text, target, (target,))
