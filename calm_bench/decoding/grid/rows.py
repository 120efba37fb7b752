"""Which rows run through a layer, and where their keys, values and encoder states lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.decoding.grid.cache import Index, KeyValueCache, slice_of


@dataclass(frozen=True)
class Rows:
    """n rows in the order of their examples, at one step: what `layer.Rows` asks for.

    Attributes:
        number: each row's number among all rows of this step, ascending, (n,).
        step: the position that they write, from 0.
        cache: their keys and values. slots: the index of their slots in it.
        examples: E. width: the most rows that any example has.
        cells: where each row's query stands among (E, width), (n,). filling: the row whose query stands in each of
            those cells, any row's in an empty one, (E width,). Both are None when row k is example k, alone.
        origin: where each row's state is found among those before it, (n,): of the first rows, their tokens.
    """

    number: NDArray[np.int64]
    step: int
    cache: KeyValueCache
    slots: Index
    examples: int
    width: int
    cells: Tensor | None
    filling: Tensor | None
    origin: Tensor

    @classmethod
    def of(
        cls,
        number: NDArray[np.int64],
        step: int,
        cache: KeyValueCache,
        slot: NDArray[np.int64],
        example: NDArray[np.int64],
        examples: int,
        origin: NDArray[np.int64],
    ) -> Rows:
        """Lay out rows whose slots, examples and origins (n,) are given."""
        begins = np.concatenate([[True], example[1:] != example[:-1]])
        if len(number) == examples and begins.all():
            slots, taken = cache.tensors(slot, origin)
            return cls(number, step, cache, slice_of(slot) or slots, examples, 1, None, None, taken)
        within = np.arange(len(example)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
        width = int(within.max()) + 1
        cell = example * width + within
        filling = np.zeros(examples * width, np.int64)
        filling[cell] = np.arange(len(cell))
        slots, cells, filled, taken = cache.tensors(slot, cell, filling, origin)
        return cls(number, step, cache, slice_of(slot) or slots, examples, width, cells, filled, taken)

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's K and V, (n, 2, H, d_kv); all so far, (n, H, step + 1, d_kv) each."""
        return self.cache.append(layer, self.slots, self.step, keys_values)

    def bias(self, by_distance: Tensor) -> Tensor:
        """Towards the step + 1 positions so far, (1, H, 1, step + 1), of the bias by distance, the longest first."""
        return by_distance[..., -self.step - 1 :]

    def spread(self, queries: Tensor) -> Tensor:
        """Queries (n, H, d_kv) as (E, H, width, d_kv): the rows of an example share its encoder states uncopied."""
        if self.filling is None:
            return queries[:, :, None]
        return queries[self.filling].view(self.examples, self.width, *queries.shape[1:]).transpose(1, 2)

    def gather(self, mixed: Tensor) -> Tensor:
        """The inverse of `spread`: (E, H, width, d_kv) as (n, H d_kv)."""
        examples, heads, width, d_kv = mixed.shape
        grid = mixed.transpose(1, 2).reshape(examples * width, heads * d_kv)
        return grid if self.cells is None else grid[self.cells]
