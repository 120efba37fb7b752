"""All that decides an exit: measure, threshold, decay, first and last layer; and what skipped layers are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_bench.choices import DecayForm, StateCopying
from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure


@dataclass(frozen=True)
class Decay:
    """How a threshold falls while a text is written (CALM, Eq. 5).

    `additive` is the paper's clip(0.9 lambda + 0.1 exp(-tau t / N), 0, 1); `multiplicative` is the released code's
    lambda (0.9 + 0.1 exp(-tau t / N)); `none` keeps lambda. tau >= 0 is the temperature. Note that the additive form
    at tau = 0 is 0.9 lambda + 0.1, the same for every step: a relabelling of the grid, not lambda itself.
    """

    form: DecayForm = "additive"
    tau: float = 0.0

    def threshold(self, threshold: float, step: int, max_new_tokens: int) -> float:
        """lambda'(lambda, t) in [0, 1] for step t = 0..N-1 of at most N = max_new_tokens."""
        fall = math.exp(-self.tau * step / max_new_tokens)
        match self.form:
            case "additive":
                return min(1.0, max(0.0, 0.9 * threshold + 0.1 * fall))
            case "multiplicative":
                return threshold * (0.9 + 0.1 * fall)
            case "none":
                return threshold

    def __str__(self) -> str:
        return "none" if self.form == "none" else f"{self.form}(tau={self.tau:g})"


@dataclass(frozen=True)
class Rule:
    """Exit at the first layer from `min_layer` on whose confidence reaches the threshold, at latest at `last_layer`.

    Five kinds exist, each with its own constructor below. A rule without a measure never asks: it runs to its last
    layer. `last_layer` None means the model's depth, L; `drafts` is None but for speculative rules.
    """

    name: str
    measure: Measure | None = None
    threshold: float | None = None
    decay: Decay = Decay("none")
    min_layer: int = 1
    last_layer: int | None = None
    state_copying: StateCopying = "exit_state"
    drafts: int | None = None

    @staticmethod
    def full() -> Rule:
        """The full model: exits switched off. It is not threshold 1, which the decay lowers and rounding can reach."""
        return Rule("full")

    @staticmethod
    def static(layer: int) -> Rule:
        """The static baseline: every token leaves after the same layer, which is also the rule's `threshold`."""
        return Rule("static", threshold=float(layer), last_layer=layer)

    @staticmethod
    def oracle(state_copying: StateCopying = "exit_state") -> Rule:
        """The local oracle: the earliest layer whose token is the full model's token for this step.

        It looks ahead through all layers, so it saves nothing: a bound on what a measure could do, not a method.
        """
        return Rule("oracle", state_copying=state_copying)

    @staticmethod
    def speculative(layer: int, drafts: int) -> Rule:
        """Self-speculative decoding (Zhang et al. 2024; LayerSkip, Elhoushi et al. 2024): the full model's very text.

        Exits after `layer` draft so many tokens; one pass of the layers above verifies them all. Those up to the first
        that is not the full model's are kept, and the full model's own token follows them. A kept draft's exit layer is
        `layer`, that of a token of the full model L; `layers_run` says what both have cost.
        """
        return Rule("speculative", min_layer=layer, drafts=drafts)

    @staticmethod
    def adaptive(
        measure: Measure,
        threshold: float,
        decay: Decay,
        min_layer: int = 1,
        state_copying: StateCopying = "exit_state",
    ) -> Rule:
        """A confidence measure with a threshold in (0, 1]."""
        first = max(min_layer, measure.first_layer)
        return Rule(measure.name, measure, threshold, decay, first, state_copying=state_copying)

    @property
    def is_oracle(self) -> bool:
        return self.name == "oracle"

    def check_layers(self, depth: int) -> None:
        """Raise InputError unless the rule fits a model of L = depth."""
        last = self.last_layer or depth
        if self.drafts is not None and not (self.drafts >= 1 and 1 <= self.min_layer < depth):
            raise InputError(
                f"rule speculative: the drafting layer {self.min_layer} must be at least 1 and below {depth}, the "
                f"model's decoder layers, and the drafts {self.drafts} at least 1"
            )
        if not 1 <= last <= depth or self.min_layer < 1:
            raise InputError(
                f"rule {self.name}: first layer {self.min_layer} and last layer {last} must be at least 1, and the "
                f"last at most {depth}, the model's decoder layers"
            )

    def layers_run(self, exit_layers: NDArray[np.integer[Any]], depth: int) -> float:
        """Decoder layers that ran for a text, per token of it, from its exit layers (T,).

        The mean exit layer; of a speculative rule, L for each draft and each of the full model's tokens, kept or not.
        """
        if self.drafts is None:
            return float(exit_layers.mean())
        return depth * (self.drafts + 1) * self.rounds(exit_layers, depth) / len(exit_layers)

    def rounds(self, exit_layers: NDArray[np.integer[Any]], depth: int) -> int:
        """How often a speculative rule has verified its drafts: once for each token of the full model, and the last."""
        return int((exit_layers == depth).sum() + (exit_layers[-1] != depth))

    def threshold_at(self, step: int, max_new_tokens: int) -> float:
        """The threshold in force at a step; only rules with a measure have one."""
        assert self.threshold is not None
        return self.decay.threshold(self.threshold, step, max_new_tokens)
