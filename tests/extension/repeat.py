"""A measure written outside the package."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures import Measure, Visit


@dataclass(frozen=True)
class Repeat(Measure):
    """c = `certainty` where this layer predicts the token that the layer below it predicted, else 0."""

    certainty: float
    name: ClassVar[str] = "repeat"

    @property
    def first_layer(self) -> int:
        return 2

    def confidence(self, visit: Visit) -> Tensor:
        agrees = visit.head(visit.state).argmax(-1) == visit.head(visit.previous).argmax(-1)
        return agrees.float() * self.certainty

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        return 2 * 2.0 * vocab * d_model if layer >= 2 else 0.0
