"""Self-attention keys and values of the rows being decoded, one slot a row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.asking import index_like
from calm_bench.models.weights import Weights

Index = slice | Tensor
FIRST_LENGTH = 16  # positions before the first doubling


class KeyValueCache:
    """A buffer (slots, L, 2, H, T, d_kv) that grows as rows part from one another.

    A row is a set of rules whose exits have agreed so far. Rows that part are copied into free slots; rows that have
    ended give their slots back. The buffer starts with one slot an example and a few positions, and doubles when full,
    up to the `longest` text.
    """

    def __init__(self, weights: Weights, slots: int, longest: int) -> None:
        shape = (slots, weights.depth, 2, weights.heads, min(FIRST_LENGTH, longest), weights.d_kv)
        self._buffer = torch.empty(shape, device=weights.device, dtype=weights.dtype)
        self._free: list[int] = []
        self._longest = longest

    @property
    def slots(self) -> int:
        return self._buffer.shape[0]

    def index(self, slots: NDArray[np.int64]) -> Index:
        """An index for `slots`: a slice, so that reading copies nothing, when they are 0..n-1 in order."""
        if slots[0] == 0 and slots[-1] == len(slots) - 1 and (np.diff(slots) == 1).all():
            return slice(0, len(slots))
        return self.tensor(slots)

    def tensor(self, numbers: NDArray[np.int64]) -> Tensor:
        """The same numbers where the buffer is."""
        return index_like(self._buffer, numbers)

    def make_room(self, step: int) -> None:
        """Have a position for `step`; called once a step, before any layer writes."""
        length = self._buffer.shape[4]
        if step >= length:
            self._move(self.slots, min(2 * length, self._longest))

    def append(self, layer: int, index: Index, step: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Write (n, 2, H, d_kv) of a layer (1..L) at a step; keys and values so far, (n, H, step + 1, d_kv) each."""
        plane = self._buffer.select(1, layer - 1)
        if isinstance(index, slice):  # the rows lie side by side: views, nothing is gathered
            plane = plane.narrow(0, 0, index.stop)
            plane.select(3, step).copy_(keys_values)
            plane = plane.narrow(3, 0, step + 1)
        else:
            plane.select(3, step)[index] = keys_values.to(plane.dtype)
            plane = plane.narrow(3, 0, step + 1)[index]
        keys, values = plane.float().unbind(1)
        return keys, values

    def read(self, layers: Tensor, slots: Tensor, step: int) -> Tensor:
        """Keys and values at a step, each slot's of its own layer, (n, 2, H, d_kv); layers (1..L) and slots (n,)."""
        return self._buffer[..., step, :][slots, layers - 1]

    def write(self, layer: int, slots: Tensor, step: int, keys_values: Tensor) -> None:
        """Write (n, 2, H, d_kv) into a layer (1..L) of slots (n,) at a step."""
        self._buffer[:, layer - 1, :, :, step][slots] = keys_values.to(self._buffer.dtype)

    def copy(self, sources: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Copy the first `length` positions of slots into free ones; the new slots, in the order of `sources`."""
        if len(sources) > len(self._free):
            self._grow(max(self.slots, len(sources)))
        targets = np.array([self._free.pop() for _ in sources], np.int64)
        read = self.tensor(sources)  # no slice: CUDA writes no view of a buffer into that buffer
        self._buffer[self.index(targets), ..., :length, :] = self._buffer[read, ..., :length, :]
        return targets

    def release(self, slots: NDArray[np.int64]) -> None:
        self._free.extend(slots.tolist())

    def _grow(self, extra: int) -> None:
        self._free.extend(range(self.slots, self.slots + extra))
        self._move(self.slots + extra, self._buffer.shape[4])

    def _move(self, slots: int, length: int) -> None:
        """Into a larger buffer; memory that nothing was written to is not touched."""
        old, rest = self._buffer, self._buffer.shape[1:4]
        self._buffer = old.new_empty((slots, *rest, length, old.shape[5]))
        self._buffer[: old.shape[0], ..., : old.shape[4], :] = old
