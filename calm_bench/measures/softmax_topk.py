"""Softmax response over a pruned vocabulary (Vincenti et al. 2024, Dynamic Vocabulary Pruning)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure, Visit
from calm_bench.measures.softmax import gap


@dataclass(frozen=True)
class SoftmaxTopk(Measure):
    """c = p1 - p2 of softmax(W_S d_t^i), where S holds the k best tokens after one early layer, anew at each step.

    The whole head is evaluated once, at that layer; later layers ask k rows of it.

    Attributes:
        k: tokens kept, at least 2; a k above the vocabulary keeps all of it.
        layer: the layer that chooses them, 1..L; the first possible exit.
        writes: the token of an exit, the best of the whole "vocabulary", which takes the head a second time, or of the
            "set". A token that runs to the last layer is the best of the vocabulary in any case.
    """

    k: int
    layer: int
    writes: Literal["vocabulary", "set"] = "vocabulary"
    name: ClassVar[str] = "softmax_topk"
    tau_like: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        if self.k < 2:
            raise InputError(f"measure.softmax_topk.k={self.k} must be at least 2")
        if self.layer < 1:
            raise InputError(f"measure.softmax_topk.layer={self.layer} must be at least 1")
        if self.writes not in ("vocabulary", "set"):
            raise InputError(f"measure.softmax_topk.writes={self.writes!r} must be vocabulary or set")

    @property
    def first_layer(self) -> int:
        return self.layer

    def remembers(self, layer: int) -> bool:
        return layer == self.layer

    def remember(self, visit: Visit) -> Tensor:
        """The tokens kept, (n, k)."""
        return visit.logits.topk(min(self.k, visit.logits.shape[-1]), dim=-1).indices

    def confidence(self, visit: Visit) -> Tensor:
        logits = visit.head(visit.state, visit.memory)
        return gap(logits, logits.argmax(-1))

    @property
    def own_token(self) -> bool:
        return self.writes == "set"

    def token(self, visit: Visit) -> Tensor:
        assert visit.memory is not None
        best = visit.head(visit.state, visit.memory).argmax(-1, keepdim=True)
        return visit.memory.gather(-1, best).squeeze(-1)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        chosen = 2.0 * min(self.k, vocab) * d_model if layer >= self.layer else 0.0
        return chosen + (2.0 * vocab * d_model if layer == self.layer else 0.0)
