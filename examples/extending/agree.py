"""A confidence measure of your own: does the layer below predict the same token?"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.measures import Measure, Visit


@dataclass(frozen=True)
class Agree(Measure):
    """c = `certainty` where this layer predicts the token that the layer below it predicts, else 0."""

    certainty: float
    name: ClassVar[str] = "agree"
    tau_like: ClassVar[str] = "softmax"  # its thresholds fall over a text as those of softmax do

    @property
    def first_layer(self) -> int:
        return 2

    def confidence(self, visit: Visit) -> Tensor:
        """Confidence of each of n rows, (n,)."""
        below = visit.head(visit.previous).argmax(-1)
        return self.certainty * (visit.logits.argmax(-1) == below).float()

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        return 2 * 2.0 * vocab * d_model  # two vocabulary products
