"""Entropy of the early prediction, turned into a confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class Entropy(Measure):
    """c = 1 - H(softmax(W d_t^i)) / log V: 1 for a single certain token, 0 for all V alike. Not in the paper."""

    name: ClassVar[str] = "entropy"
    tau_like: ClassVar[str] = "softmax"
    needs_logits: ClassVar[bool] = True

    def confidence(self, visit: Visit) -> Tensor:
        log_p = visit.logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        return (1 - entropy / math.log(log_p.shape[-1])).clamp(0, 1)  # sums of many terms pass the ends by rounding
