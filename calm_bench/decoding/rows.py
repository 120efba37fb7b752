"""Which rows run through a layer, and where their keys, values and encoder states lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.decoding.cache import Index, KeyValueCache


@dataclass(frozen=True)
class Rows:
    """n rows in the order of their examples.

    Attributes:
        number: each row's number among all rows of this step, ascending, (n,).
        slots: index of their slots in the key-value cache.
        cells: where each row's query stands in a grid (examples, width), (n,); None when row k is example k, alone.
        width: the most rows that any example has.
    """

    number: NDArray[np.int64]
    slots: Index
    cells: Tensor | None
    width: int

    @classmethod
    def of(
        cls,
        number: NDArray[np.int64],
        slot: NDArray[np.int64],
        example: NDArray[np.int64],
        examples: int,
        cache: KeyValueCache,
    ) -> Rows:
        """Lay out rows whose slots and examples (n,) are given; `examples` is E."""
        slots = cache.index(slot)
        if len(number) == examples and (example[1:] != example[:-1]).all():
            return cls(number, slots, None, 1)
        first = np.searchsorted(example, example)
        within = np.arange(len(example)) - first
        width = int(within.max()) + 1
        cells = torch.from_numpy(example * width + within)
        return cls(number, slots, cells.to(cache.device), width)

    def spread(self, queries: Tensor, examples: int) -> Tensor:
        """Queries (n, H, d_kv) as (E, H, width, d_kv): the rows of an example share its encoder states uncopied."""
        if self.cells is None:
            return queries[:, :, None]
        grid = queries.new_zeros((examples * self.width, *queries.shape[1:]))
        grid[self.cells] = queries
        return grid.view(examples, self.width, *queries.shape[1:]).transpose(1, 2)

    def gather(self, mixed: Tensor) -> Tensor:
        """The inverse of `spread`: (E, H, width, d_kv) as (n, H d_kv)."""
        examples, heads, width, d_kv = mixed.shape
        grid = mixed.transpose(1, 2).reshape(examples * width, heads * d_kv)
        return grid if self.cells is None else grid[self.cells]
