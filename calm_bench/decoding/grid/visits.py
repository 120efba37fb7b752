"""What the layers of one step have seen, until the step is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
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
        self._known: dict[tuple[int, int], tuple[Ints, Tensor]] = {}

    def add(self, passed: LayerPass) -> None:
        """Note the next layer's rows and states."""
        self._passes.append(passed)

    def know_tokens(self, measure: Measure, author: int, answer: Answer) -> None:
        """A measure knows the tokens of its rows already: keep them, by their author."""
        self._known[answer.visit.layer, author] = answer.rows, measure.token(answer.visit)

    def states(self, rows: Ints, layers: Ints) -> Tensor:
        """State of each row after the given layer, (n, d)."""
        left = np.unique(layers).tolist()
        passes = [self._passes[layer - 1] for layer in left]
        positions = [np.searchsorted(p.rows, rows[layers == layer]) for p, layer in zip(passes, left, strict=True)]
        index = index_like(passes[0].state, np.concatenate(positions)).split([len(part) for part in positions])
        by_layer = torch.cat([p.state[part] for p, part in zip(passes, index, strict=True)])
        if len(left) == 1:
            return by_layer
        return by_layer[index_like(by_layer, np.argsort(np.argsort(layers, kind="stable")))]

    def tokens(self, rows: Ints, layers: Ints, authors: Ints, states: Tensor) -> Ints:
        """The token of each row after the given layer, (n,): its author's, or the best of the vocabulary.

        The device is waited for once. Raises FloatingPointError where one of the `states` there is NaN.
        """
        unknown, order, parts = np.ones(len(rows), np.bool_), [], []
        for (layer, author), (known_rows, known_tokens) in self._known.items():
            here = np.flatnonzero((layers == layer) & (authors == author))
            here = here[np.isin(rows[here], known_rows)]
            order.append(here)
            parts.append(known_tokens[index_like(states, np.searchsorted(known_rows, rows[here]))])
            unknown[here] = False
        if unknown.any():
            order.append(np.flatnonzero(unknown))
            asked = states if unknown.all() else states[index_like(states, order[-1])]
            parts.append(self._head(asked).argmax(-1))
        found = torch.cat([*parts, states.isnan().any(-1)]).cpu().numpy()
        if (broken := found[len(rows) :]).any():
            raise FloatingPointError(f"state is NaN at layer {layers[int(broken.argmax())]}, position {self.step}")
        tokens = np.empty(len(rows), np.int64)
        tokens[np.concatenate(order)] = found[: len(rows)]
        return tokens

    def predictions(self, rows: Ints, layer: int) -> Tensor:
        """What rows that ran through a layer (1..L) would write after it, (n,)."""
        passed = self._passes[layer - 1]
        states = passed.state[index_like(passed.state, np.searchsorted(passed.rows, rows))]
        return self._head(states).argmax(-1)

    def earliest_agreeing_layers(self, rows: Ints) -> Ints:
        """The first layer whose token is the last layer's, (n,): the local oracle. The rows ran through all layers."""
        tokens = torch.stack([self.predictions(rows, layer) for layer in range(1, len(self._passes) + 1)])
        layers: Ints = (tokens == tokens[-1]).int().argmax(0).cpu().numpy() + 1
        return layers
