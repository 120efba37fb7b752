"""Patience: layers in a row have predicted the same token (Zhou et al. 2020, BERT Loses Patience)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure, Visit


@dataclass(frozen=True)
class Patience(Measure):
    """c = min(1, n_i / k), where n_i counts the layers in a row, up to layer i, whose best token is layer i's.

    A threshold λ exits after λ k layers in a row, so a grid and its certificate choose the patience. Two layers must
    have run. Costs a vocabulary product at each layer.

    Attributes:
        k: layers in a row that make the confidence 1, at least 2.
    """

    k: int
    name: ClassVar[str] = "patience"
    tau_like: ClassVar[str] = "state"

    def __post_init__(self) -> None:
        if self.k < 2:
            raise InputError(f"measure.patience.k={self.k} must be at least 2")

    @property
    def first_layer(self) -> int:
        return 2

    def remembers(self, layer: int) -> bool:
        return True

    def remember(self, visit: Visit) -> Tensor:
        """The best token and how many layers in a row had it, (n, 2)."""
        token = visit.best
        row = torch.ones_like(token)
        if visit.memory is not None:
            before, length = visit.memory.unbind(-1)
            row = torch.where(token == before, length + 1, 1)
        return torch.stack([token, row], dim=-1)

    def confidence(self, visit: Visit) -> Tensor:
        assert visit.memory is not None
        return (visit.memory[:, 1] / self.k).clamp(max=1)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        return 2.0 * vocab * d_model
