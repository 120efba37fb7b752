"""Training pairs as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch.utils.data import Dataset

from calm_bench.models.model import EarlyExitModel

Pair = dict[str, list[int]]


class Pairs(Protocol):
    """`input_ids` and `labels` of each pair, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...


class TokenizedPairs(Dataset[Pair]):
    """Pairs of text (rows with `source` and `target`), tokenised when they are read: by the loader's processes."""

    def __init__(self, model: EarlyExitModel, rows: Any, max_source_tokens: int, max_target_tokens: int) -> None:
        """`rows` is a `datasets.Dataset`, as `Task.rows` gives it; texts are cut to these lengths."""
        self._tokenize, self._rows = model.tokenize, rows
        self._lengths = {"source": max_source_tokens, "target": max_target_tokens}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """A batch at once, which torch's loader asks for."""
        batch = self._rows[list(indices)]
        sources, targets = (self._tokenize(batch[name], length) for name, length in self._lengths.items())
        return [{"input_ids": ids, "labels": labels} for ids, labels in zip(sources, targets, strict=True)]
