"""What the layers of one step have seen, until the step is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.asking import Answer, Asking, LayerPass, index_like, indices_like
from calm_bench.measures.measure import Measure

Ints = NDArray[np.int64]


class Visits:
    """The states that one step has seen: for each layer, which rows ran through it and what came out.

    Attributes:
        step: the position that is being written, from 0.
        asking: the measures, and what they remember of this step.
    """

    def __init__(
        self,
        step: int,
        head: Callable[..., Tensor],
        learned: Mapping[str, Callable[..., Tensor]],
        shape: tuple[int, int, int],
    ) -> None:
        """`head` and `learned` are as in `Visit`; the shape is L + 1, authors of tokens, rows."""
        self.step, self.asking = step, Asking(head, learned)
        self._head = head
        self._passes: list[LayerPass] = []
        self._known: list[Tensor] = []  # tokens, on the device
        self._known_count = 0
        self._place = np.full(shape, -1)  # where among them a layer's, an author's and a row's token stands

    def add(self, passed: LayerPass) -> None:
        """Note the next layer's rows and states."""
        self._passes.append(passed)

    def know_tokens(self, measure: Measure, author: int, answer: Answer) -> None:
        """A measure knows the tokens of its rows already: keep them, by their author."""
        self._place[answer.visit.layer, author, answer.rows] = self._known_count + np.arange(len(answer.rows))
        self._known.append(measure.token(answer.visit))
        self._known_count += len(answer.rows)

    def states(self, rows: Ints, layers: Ints) -> Tensor:
        """State of each row after the given layer, (n, d)."""
        left = np.flatnonzero(np.bincount(layers)).tolist()
        passes, where = [self._passes[layer - 1] for layer in left], [np.flatnonzero(layers == layer) for layer in left]
        positions = [np.searchsorted(p.rows, rows[here]) for p, here in zip(passes, where, strict=True)]
        order = np.argsort(np.concatenate(where))
        *index, back = indices_like(passes[0].state, *positions, order)
        by_layer = torch.cat([p.state[part] for p, part in zip(passes, index, strict=True)])
        return by_layer if len(left) == 1 else by_layer[back]

    def tokens(self, rows: Ints, layers: Ints, authors: Ints, states: Tensor) -> Ints:
        """The token of each row after the given layer, (n,): its author's, or the best of the vocabulary.

        The device is waited for once. Raises FloatingPointError where one of the `states` there is NaN.
        """
        place = self._place[layers, authors, rows]
        unknown, parts = np.flatnonzero(place < 0), self._known
        if len(unknown):
            place[unknown] = self._known_count + np.arange(len(unknown))
            asked = states if len(unknown) == len(rows) else states[index_like(states, unknown)]
            parts = [*parts, self._head(asked).argmax(-1)]
        found = torch.cat([*parts, states.isnan().any(-1)]).cpu().numpy()
        if (broken := found[-len(rows) :]).any():
            raise FloatingPointError(f"state is NaN at layer {layers[int(broken.argmax())]}, position {self.step}")
        tokens: Ints = found[place]
        return tokens

    def predictions(self, rows: Ints, layer: int) -> Tensor:
        """What rows that ran through a layer (1..L) would write after it, (n,)."""
        passed = self._passes[layer - 1]
        states = passed.state[index_like(passed.state, np.searchsorted(passed.rows, rows))]
        return self._head(states).argmax(-1)

    def earliest_agreeing_layers(self, rows: Ints) -> Ints:
        """The first layer whose token is the last layer's, (n,): the local oracle. The rows ran through all layers."""
        depth = len(self._passes)
        states = self.states(np.tile(rows, depth), np.arange(1, depth + 1).repeat(len(rows)))
        tokens = torch.stack([self._head(layer).argmax(-1) for layer in states.split(len(rows))])
        layers: Ints = (tokens == tokens[-1]).int().argmax(0).cpu().numpy() + 1
        return layers
