"""MLP classifier: a small network a layer that has learned where stopping costs the text little. Not in the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class MlpClassifier(Measure):
    """c = sigmoid(v_i . gelu(W_i [n(d_t^i); n(d_t^{i-1})] + b_i) + c_i), weights of its own at each layer.

    n is the norm without its gain. The weights are those of `models.mlp_classifier`, trained by `models.stopping_loss`
    along the full model's own texts. The paper's classifier is linear in d_t^i and the same for all layers.

    Attributes:
        hidden: rows of W_i, as the weights have them: what a visit costs.
    """

    hidden: int
    name: ClassVar[str] = "mlp_classifier"
    learned: ClassVar[str] = "mlp_classifier"
    tau_like: ClassVar[str] = "state"

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise InputError(f"measure.mlp_classifier.hidden={self.hidden} must be at least 1")

    def confidence(self, visit: Visit) -> Tensor:
        return visit.learned["mlp_classifier"](visit.layer, visit.state, visit.previous)

    def missing(self, learned: Mapping[str, Callable[..., Tensor]]) -> str | None:
        found = getattr(learned.get("mlp_classifier"), "units", self.hidden)
        unlike = f"has {self.hidden} hidden units (measure.mlp_classifier.hidden), its weights have {found}"
        return super().missing(learned) or (unlike if found != self.hidden else None)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        return 2.0 * self.hidden * (2 * d_model + 1)
