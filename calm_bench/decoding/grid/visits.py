"""What the layers of one step have seen, until the step is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.asking import Answer, Asking, LayerPass, index_like
from calm_bench.measures.measure import Measure

Ints = NDArray[np.int64]


class Visits:
    """The states that one step has seen: for each layer, which rows ran through it and what came out.

    Attributes:
        step: the position that is being written, from 0.
        asking: the measures, and what they remember of this step.
    """

    def __init__(self, step: int, head: Callable[..., Tensor], learned: Mapping[str, Callable[..., Tensor]]) -> None:
        self.step, self.asking = step, Asking(head, learned)
        self._head = head
        self._passes: list[LayerPass] = []
        self._known: dict[tuple[int, int], tuple[Ints, Ints]] = {}

    def add(self, passed: LayerPass) -> None:
        """Note the next layer's rows and states."""
        self._passes.append(passed)

    def know_tokens(self, measure: Measure, author: int, answer: Answer, leaving: Ints) -> None:
        """A measure knows the tokens of its rows already: keep those of the rows that leave, by their author."""
        tokens = measure.token(answer.visit).cpu().numpy()
        self._known[answer.visit.layer, author] = leaving, tokens[np.searchsorted(answer.rows, leaving)]

    def states(self, rows: Ints, layers: Ints) -> Tensor:
        """State of each row after the given layer, (n, d)."""
        first = self._passes[0].state
        result = first.new_empty((len(rows), first.shape[1]))
        for layer in np.unique(layers):
            here = np.flatnonzero(layers == layer)
            passed = self._passes[layer - 1]
            position = np.searchsorted(passed.rows, rows[here])
            result[index_like(result, here)] = passed.state[index_like(result, position)]
        return result

    def tokens(self, rows: Ints, layers: Ints, authors: Ints, states: Tensor) -> Ints:
        """The token of each row after the given layer, (n,): its author's, or the best of the vocabulary."""
        tokens = np.full(len(rows), -1)
        for (layer, author), (known_rows, known_tokens) in self._known.items():
            here = np.flatnonzero((layers == layer) & (authors == author) & np.isin(rows, known_rows))
            tokens[here] = known_tokens[np.searchsorted(known_rows, rows[here])]
        unknown = np.flatnonzero(tokens < 0)
        if len(unknown):
            tokens[unknown] = self._head(states[index_like(states, unknown)]).argmax(-1).cpu().numpy()
        return tokens

    def predictions(self, rows: Ints, layer: int) -> Ints:
        """What rows that ran through a layer (1..L) would write after it, (n,)."""
        passed = self._passes[layer - 1]
        states = passed.state[index_like(passed.state, np.searchsorted(passed.rows, rows))]
        found: Ints = self._head(states).argmax(-1).cpu().numpy()
        return found

    def earliest_agreeing_layers(self, rows: Ints) -> Ints:
        """The first layer whose token is the last layer's, (n,): the local oracle. The rows ran through all layers."""
        predictions = np.stack([self.predictions(rows, layer) for layer in range(1, len(self._passes) + 1)])
        layers: Ints = (predictions == predictions[-1]).argmax(0) + 1
        return layers
