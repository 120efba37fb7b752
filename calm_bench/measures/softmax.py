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
        return gap(visit.logits)


def gap(logits: Tensor) -> Tensor:
    """The largest probability less the second largest, (n,), of logits (n, at least 2)."""
    top, best = logits.max(dim=-1, keepdim=True)
    weights = (logits - top).exp_()
    total = weights.sum(-1)
    second = weights.scatter_(-1, best, 0.0).amax(-1)
    return (1 - second) / total
