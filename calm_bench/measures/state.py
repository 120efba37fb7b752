"""Hidden-state saturation: the state has stopped moving (CALM, section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class State(Measure):
    """c = cosine(d_t^i, d_t^{i-1}). Two layers must have run, so the first possible exit is layer 2."""

    name: ClassVar[str] = "state"

    @property
    def first_layer(self) -> int:
        return 2

    def confidence(self, visit: Visit) -> Tensor:
        return cosine_similarity(visit.state, visit.previous, dim=-1)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        """A dot product and a norm; the previous state's norm is known."""
        return 4.0 * d_model
