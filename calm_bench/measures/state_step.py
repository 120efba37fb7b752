"""Second-order step of the state: the steps that layers take have stopped changing (Pappone et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from calm_bench.measures.measure import Measure, Visit

TINY = 1e-12  # under a norm, for states that do not move at all


@dataclass(frozen=True)
class StateStep(Measure):
    """c = 1 - ||s_i - s_{i-1}|| / (||s_i|| + ||s_{i-1}||) with the steps s_i = d_t^i - d_t^{i-1}.

    1 where a layer repeats the step of the one before it, 0 where it takes it back. The paper ends a recurrence at a
    small second-order step. Two layers must have run, so the first possible exit is layer 2.
    """

    name: ClassVar[str] = "state_step"
    tau_like: ClassVar[str] = "state"

    @property
    def first_layer(self) -> int:
        return 2

    def remembers(self, layer: int) -> bool:
        return True

    def remember(self, visit: Visit) -> Tensor:
        """This layer's step and the one before it, (n, 2, d)."""
        step = visit.state - visit.previous
        before = step if visit.memory is None else visit.memory[:, 0]
        return torch.stack([step, before], dim=1)

    def confidence(self, visit: Visit) -> Tensor:
        assert visit.memory is not None
        step, before = visit.memory.unbind(1)
        lengths = step.norm(dim=-1) + before.norm(dim=-1)
        return (1 - (step - before).norm(dim=-1) / lengths.clamp(min=TINY)).clamp(0, 1)

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        """Two differences and two norms; the norm of the step before is known."""
        return 6.0 * d_model
