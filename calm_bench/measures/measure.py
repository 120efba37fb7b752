"""What a confidence measure is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        head: states (n, d) -> logits (n, V), the final norm included; head(states, among) -> logits (n, k) of the
            tokens among (n, k) alone.
        learned: the learned weights that the model has, by their names (`Measure.learned`): modules that the measure
            calls on states (n, d).
        memory: what the measure's `remember` has kept of each row in this step, (n, ...), or None.
    """

    layer: int
    state: Tensor
    previous: Tensor
    head: Callable[..., Tensor]
    learned: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    memory: Tensor | None = None

    @cached_property
    def logits(self) -> Tensor:
        """Logits of this layer's early prediction, (n, V). Computed when first asked for: this is the dear part."""
        return self.head(self.state)

    @cached_property
    def best(self) -> Tensor:
        """The best token of the whole vocabulary, (n,)."""
        return self.logits.argmax(-1)


@dataclass(frozen=True)
class Measure:
    """A confidence c_t^i in [0, 1] that the early prediction of layer i is the one to keep (CALM, section 3.5).

    A new measure subclasses this, says what it needs, and defines `confidence` and what it costs. One that wants to
    carry something from one layer to later ones of the same step says where it `remembers` and defines `remember`.
    An executor that has no code of its own for a measure refuses the rules that ask it; the grid calls any.

    Class attributes:
        name: what rules and records call it.
        needs_logits: whether asking computes the whole output head, so that the token of an exit is known already.
        learned: the name of the learned weights that it reads, which lie beside a checkpoint (`models.learned`).
        tau_like: the measure whose decay temperature it follows in a task that lists none for it.
    """

    name: ClassVar[str]
    needs_logits: ClassVar[bool] = False
    learned: ClassVar[str | None] = None
    tau_like: ClassVar[str | None] = None

    @property
    def first_layer(self) -> int:
        """The first layer at which the measure can be asked."""
        return 1

    def remembers(self, layer: int) -> bool:
        """Whether `remember` is asked after this layer, before `confidence`, whether or not a rule may exit there."""
        return False

    @property
    def own_token(self) -> bool:
        """Whether an exit writes a token of the measure's own choice, instead of the best of the whole vocabulary."""
        return False

    def token(self, visit: Visit) -> torch.Tensor:
        """The token that an exit here writes, (n,); asked of measures that need logits or have an `own_token`."""
        return visit.best

    def missing(self, learned: Mapping[str, Callable[..., Tensor]]) -> str | None:
        """What the measure does not find in a model's learned weights, in words that follow its name; or None."""
        if self.learned is None or self.learned in learned:
            return None
        return f"needs learned weights ({self.learned}), and there are none"

    def confidence(self, visit: Visit) -> torch.Tensor:
        """Confidence of each row in exiting here, (n,)."""
        raise NotImplementedError

    def remember(self, visit: Visit) -> torch.Tensor:
        """What to keep of each row, (n, ...), for this visit and the later ones of this step.

        `visit.memory` is what an earlier layer has kept; None if there was none.
        """
        raise NotImplementedError

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        """FLOPs of asking about one row after this layer; `needs_logits` stands for the whole head, 2 V d."""
        return 2.0 * vocab * d_model if self.needs_logits else 0.0
