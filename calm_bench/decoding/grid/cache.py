"""Self-attention keys and values of the rows being decoded, one slot a row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.asking import indices_like
from calm_bench.models.weights import Weights

Index = slice | Tensor
FIRST_LENGTH = 16  # positions before the first doubling


class KeyValueCache:
    """For each layer a buffer (slots, 2, H, T, d_kv), which grow as rows part from one another.

    A row is a set of rules whose exits have agreed so far. Rows that part are copied into free slots; rows that have
    ended give their slots back. The buffers start with one slot an example and a few positions, and double when full,
    up to the `longest` text; one after another, so that little is held twice.
    """

    def __init__(self, weights: Weights, slots: int, longest: int) -> None:
        shape = slots, 2, weights.heads, min(FIRST_LENGTH, longest), weights.d_kv
        self._layers = [torch.empty(shape, device=weights.device, dtype=weights.dtype) for _ in range(weights.depth)]
        self._free: list[int] = []
        self._longest = longest

    @property
    def slots(self) -> int:
        return self._layers[0].shape[0]

    @property
    def length(self) -> int:
        return self._layers[0].shape[3]

    def tensors(self, *numbers: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The same numbers where the buffers are, in one transfer."""
        return indices_like(self._layers[0], *numbers)

    def make_room(self, step: int) -> None:
        """Have a position for `step`; called once a step, before any layer writes."""
        if step >= self.length:
            self._move(self.slots, min(2 * self.length, self._longest))

    def append(self, layer: int, index: Index, step: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Write (n, 2, H, d_kv) of a layer (1..L) at a step; keys and values so far, (n, H, step + 1, d_kv) each."""
        plane = self._layers[layer - 1]
        if isinstance(index, slice):  # the rows lie side by side: views, nothing is gathered
            plane = plane.narrow(0, 0, index.stop)
            plane.select(3, step).copy_(keys_values)
            plane = plane.narrow(3, 0, step + 1)
        else:
            plane.select(3, step)[index] = keys_values.to(plane.dtype)
            plane = plane.narrow(3, 0, step + 1)[index]
        keys, values = plane.float().unbind(1)
        return keys, values

    def read(self, layers: NDArray[np.int64], slots: Tensor, step: int) -> Tensor:
        """Keys and values at a step, each slot's of its own layer, (n, 2, H, d_kv); layers (1..L) ascending, (n,)."""
        parts = slots.split(np.bincount(layers - 1, minlength=len(self._layers)).tolist())
        return torch.cat([buffer.select(3, step)[part] for buffer, part in zip(self._layers, parts, strict=True)])

    def write(self, layer: int, slots: Tensor, step: int, keys_values: Tensor) -> None:
        """Write (n, 2, H, d_kv) into a layer (1..L) of slots (n,) at a step."""
        buffer = self._layers[layer - 1]
        buffer.select(3, step)[slots] = keys_values.to(buffer.dtype)

    def copy(self, sources: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Copy the first `length` positions of slots into free ones; the new slots, in the order of `sources`."""
        if len(sources) > len(self._free):
            self._grow(max(self.slots, len(sources)))
        targets = np.array([self._free.pop() for _ in sources], np.int64)
        read, write = self.tensors(sources, targets)
        for buffer in self._layers:
            buffer[write, :, :, :length] = buffer[read, :, :, :length]
        return targets

    def release(self, slots: NDArray[np.int64]) -> None:
        self._free.extend(slots.tolist())

    def _grow(self, extra: int) -> None:
        self._free.extend(range(self.slots, self.slots + extra))
        self._move(self.slots + extra, self.length)

    def _move(self, slots: int, length: int) -> None:
        """Into larger buffers; memory that nothing was written to is not touched."""
        for layer, old in enumerate(self._layers):
            larger = old.new_empty((slots, *old.shape[1:3], length, old.shape[4]))
            larger[: old.shape[0], :, :, : old.shape[3]] = old
            self._layers[layer] = larger


def slice_of(slots: NDArray[np.int64]) -> slice | None:
    """A slice, so that reading copies nothing, when slots are 0..n-1 in order."""
    side_by_side = slots[0] == 0 and slots[-1] == len(slots) - 1 and (np.diff(slots) == 1).all()
    return slice(0, len(slots)) if side_by_side else None
