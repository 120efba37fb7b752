"""Early-exit classifier: a learned linear probe of the state (CALM, section 3.5 and appendix D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class Classifier(Measure):
    """c = M(d_t^i), one linear layer and a sigmoid that all layers share; trained by `models.exit_classifier`."""

    name: ClassVar[str] = "classifier"
    learned: ClassVar[str] = "classifier"

    def confidence(self, visit: Visit) -> Tensor:
        return visit.learned["classifier"](visit.state)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        return 2.0 * d_model
