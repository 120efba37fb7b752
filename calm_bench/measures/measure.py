"""What a confidence measure is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Visit:
    """A decoder layer seen by n rows, each of them at one position of its text.

    Attributes:
        layer: which layer, 1..L.
        state: d_t^i, the residual stream after this layer and before the final norm, (n, d).
        previous: d_t^{i-1}, the same before this layer, (n, d).
        head: states (n, d) -> logits (n, V), the final norm included.
        classifier: states (n, d) -> confidences (n,); None where the model has no exit classifier.
    """

    layer: int
    state: Tensor
    previous: Tensor
    head: Callable[[Tensor], Tensor]
    classifier: Callable[[Tensor], Tensor] | None = None

    @cached_property
    def logits(self) -> Tensor:
        """Logits of this layer's early prediction, (n, V). Computed when first asked for: this is the dear part."""
        return self.head(self.state)


@dataclass(frozen=True)
class Measure:
    """A confidence c_t^i in [0, 1] that the early prediction of layer i is the one to keep (CALM, section 3.5).

    A new measure subclasses this, says what it needs, and defines `confidence`.
    """

    name: ClassVar[str]
    first_layer: ClassVar[int] = 1
    needs_logits: ClassVar[bool] = False
    needs_classifier: ClassVar[bool] = False

    def confidence(self, visit: Visit) -> torch.Tensor:
        """Confidence of each row in exiting here, (n,)."""
        raise NotImplementedError
