"""Largest probability: the released code's `softmax_max`, its default, where the paper has the gap of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class MaxProb(Measure):
    """c = p1, the largest probability of softmax(W d_t^i). Costs a vocabulary product at each layer."""

    name: ClassVar[str] = "max_prob"
    tau_like: ClassVar[str] = "softmax"
    needs_logits: ClassVar[bool] = True

    def confidence(self, visit: Visit) -> Tensor:
        return (visit.logits.amax(-1) - visit.logits.logsumexp(-1)).exp()
