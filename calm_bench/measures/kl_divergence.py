"""Divergence of a layer's prediction from the one before it (Geiping et al. 2025, where it ends a recurrence)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class KlDivergence(Measure):
    """c = exp(-KL(p_i || p_{i-1})), p_i = softmax(W d_t^i): 1 where another layer has changed nothing.

    Two layers must have run. Costs a vocabulary product at each layer, and keeps a distribution of each token.
    """

    name: ClassVar[str] = "kl_divergence"
    tau_like: ClassVar[str] = "state"

    @property
    def first_layer(self) -> int:
        return 2

    def remembers(self, layer: int) -> bool:
        return True

    def remember(self, visit: Visit) -> Tensor:
        """The divergence and the log-probabilities, (n, 1 + V)."""
        log_p = visit.logits.log_softmax(-1)
        before = log_p if visit.memory is None else visit.memory[:, 1:]
        divergence = (log_p.exp() * (log_p - before)).sum(-1, keepdim=True)
        return torch.cat([divergence, log_p], dim=-1)

    def confidence(self, visit: Visit) -> Tensor:
        assert visit.memory is not None
        return (-visit.memory[:, 0].clamp(min=0)).exp()  # a sum of many terms falls below 0 by rounding

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        """The head; the divergence itself is linear in V, which is left out as for softmax."""
        return 2.0 * vocab * d_model
