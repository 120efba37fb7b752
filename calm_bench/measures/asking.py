"""How measures are asked, by whoever runs the layers: the decoder, its definition, or a pass over finished texts.

After each layer, for each measure: `show` it the rows that may ask it there or above, then `ask` about those that ask
it there. A measure with a memory makes it of what it is shown at the layers where it `remembers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.measures.measure import Measure, Visit

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LayerPass:
    """n rows that have just run through a layer.

    Attributes:
        layer: which layer, 1..L.
        rows: their numbers, ascending, (n,).
        state, previous: their states after the layer and before it, (n, d).
        position: of their texts, from 0; None where it differs from row to row.
    """

    layer: int
    rows: Ints
    state: Tensor
    previous: Tensor
    position: int | None = None

    def only(self, rows: Ints) -> LayerPass:
        """The same of some of the rows, by their numbers, ascending."""
        if len(rows) == len(self.rows):
            return self
        index = index_like(self.state, np.searchsorted(self.rows, rows))
        return LayerPass(self.layer, rows, self.state[index], self.previous[index], self.position)

    def __str__(self) -> str:
        return f"layer {self.layer}" + ("" if self.position is None else f", position {self.position}")


@dataclass(frozen=True)
class Answer:
    """What a measure has said of n rows: their numbers (n,), confidences (n,), and the visit that these came from."""

    rows: Ints
    confidence: NDArray[np.float32]
    visit: Visit


class Asking:
    """The measures asked in one step, and what they have kept of its rows."""

    def __init__(self, head: Callable[..., Tensor], learned: Mapping[str, Callable[..., Any]]) -> None:
        """`head` and `learned` are as in `Visit`."""
        self._head, self._learned = head, learned
        self._memories: dict[Measure, tuple[Ints, Tensor]] = {}

    def show(self, measure: Measure, passed: LayerPass) -> None:
        """Let a measure remember these rows, which are among those it was shown before, if it does so at this layer."""
        if measure.remembers(passed.layer) and len(passed.rows):
            visit = self._visit(passed, self._memory(measure, passed.rows))
            self._memories[measure] = passed.rows, measure.remember(visit)

    def ask(self, measure: Measure, passed: LayerPass) -> Answer:
        """How confident a measure is in these rows' exit. Raises FloatingPointError where it is NaN."""
        return self.ask_all([(measure, passed)])[0]

    def ask_all(self, questions: Sequence[tuple[Measure, LayerPass]]) -> list[Answer]:
        """The same for several measures, each with rows of its own; the device is waited for once."""
        visits = [self._visit(passed, self._memory(measure, passed.rows)) for measure, passed in questions]
        said = [measure.confidence(visit) for (measure, _), visit in zip(questions, visits, strict=True)]
        known: NDArray[np.float32] = (torch.cat(said) if len(said) > 1 else said[0]).cpu().numpy()
        ends = np.cumsum([len(confidence) for confidence in said])
        answers = []
        for (measure, passed), visit, confidence in zip(questions, visits, np.split(known, ends[:-1]), strict=True):
            if np.isnan(confidence).any():
                raise FloatingPointError(f"confidence of {measure.name} is NaN at {passed}")
            answers.append(Answer(passed.rows, confidence, visit))
        return answers

    def _memory(self, measure: Measure, rows: Ints) -> Tensor | None:
        if measure not in self._memories:
            return None
        known, kept = self._memories[measure]
        return kept[index_like(kept, np.searchsorted(known, rows))]

    def _visit(self, passed: LayerPass, memory: Tensor | None) -> Visit:
        return Visit(passed.layer, passed.state, passed.previous, self._head, self._learned, memory)


def index_like(tensor: Tensor, index: Ints) -> Tensor:
    """An index as a tensor where `tensor` is; a GPU is not waited for."""
    here = torch.from_numpy(index)
    return here.pin_memory().to(tensor.device, non_blocking=True) if tensor.is_cuda else here


def indices_like(tensor: Tensor, *indices: Ints) -> tuple[Tensor, ...]:
    """Several in one transfer."""
    return index_like(tensor, np.concatenate(indices)).split([len(index) for index in indices])
