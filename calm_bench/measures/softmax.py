"""Softmax response: how far the best token is ahead of the second best (CALM, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class Softmax(Measure):
    """c = p1 - p2, the two largest probabilities of softmax(W d_t^i). Costs a vocabulary product at each layer."""

    name: ClassVar[str] = "softmax"
    needs_logits: ClassVar[bool] = True

    def confidence(self, visit: Visit) -> Tensor:
        return gap(visit.logits, visit.best)


def gap(logits: Tensor, best: Tensor) -> Tensor:
    """The largest probability less the second largest, (n,), of logits (n, at least 2) and the place of the best."""
    probability = logits.softmax(-1)
    first = probability.amax(-1)
    return first - probability.scatter_(-1, best[:, None], 0.0).amax(-1)
