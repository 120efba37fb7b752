"""What the layers of one step have seen, until the step is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.measure import Measure

Ints = NDArray[np.int64]


class Visits:
    """The states that one step has seen: for each layer, which rows ran through it and what came out."""

    def __init__(self, head: Callable[[Tensor], Tensor]) -> None:
        self._head = head
        self._memories: dict[Measure, tuple[Ints, Tensor]] = {}
        self._rows: list[Ints] = []
        self._states: list[Tensor] = []
        self._known: dict[int, tuple[Ints, Ints]] = {}

    def add(self, rows: Ints, states: Tensor) -> None:
        """Note the next layer's rows (n,) and states (n, d)."""
        self._rows.append(rows)
        self._states.append(states)

    def remember(self, measure: Measure, rows: Ints, memory: Tensor) -> None:
        """Note what a measure keeps of these rows (n,) for the layers above, (n, ...)."""
        self._memories[measure] = rows, memory

    def memory(self, measure: Measure, rows: Ints) -> Tensor | None:
        """What the measure has kept of each row, (n, ...), or None."""
        if measure not in self._memories:
            return None
        known_rows, memory = self._memories[measure]
        return memory[on_device(np.searchsorted(known_rows, rows), memory)]

    def know_tokens(self, layer: int, rows: Ints, tokens: Ints) -> None:
        """A measure has paid for these rows' logits already: keep their tokens."""
        self._known[layer] = rows, tokens

    def states(self, rows: Ints, layers: Ints) -> Tensor:
        """State of each row after the given layer, (n, d)."""
        distinct = np.unique(layers)
        result = self._states[0].new_empty((len(rows), self._states[0].shape[1]))
        for layer in distinct:
            here = np.flatnonzero(layers == layer)
            position = np.searchsorted(self._rows[layer - 1], rows[here])
            result[on_device(here, result)] = self._states[layer - 1][on_device(position, result)]
        return result

    def tokens(self, rows: Ints, layers: Ints, states: Tensor) -> Ints:
        """Predicted token of each row after the given layer, (n,)."""
        tokens = np.full(len(rows), -1)
        for layer, (known_rows, known_tokens) in self._known.items():
            here = np.flatnonzero((layers == layer) & np.isin(rows, known_rows))
            tokens[here] = known_tokens[np.searchsorted(known_rows, rows[here])]
        unknown = np.flatnonzero(tokens < 0)
        if len(unknown):
            tokens[unknown] = self._head(states[on_device(unknown, states)]).argmax(-1).cpu().numpy()
        return tokens

    def earliest_agreeing_layers(self, rows: Ints) -> Ints:
        """The first layer whose token is the last layer's, (n,): the local oracle. The rows ran through all layers."""
        predictions = np.stack(
            [
                self._head(states[on_device(np.searchsorted(numbers, rows), states)]).argmax(-1).cpu().numpy()
                for numbers, states in zip(self._rows, self._states, strict=True)
            ]
        )
        layers: Ints = (predictions == predictions[-1]).argmax(0) + 1
        return layers


def on_device(index: Ints, like: Tensor) -> Tensor:
    """An index as a tensor where `like` is."""
    return torch.from_numpy(index).to(like.device)
