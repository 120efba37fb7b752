"""What the host starts with one call: a token, or a layer and its question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from calm_bench.captured import Captured
from calm_bench.decoding.rule import Rule
from calm_bench.measures import Measure

if TYPE_CHECKING:  # it imports triton, which is not everywhere
    from calm_bench.decoding.cuda.launches import Launches
    from calm_bench.decoding.cuda.launches_in_torch import LaunchesInTorch


@dataclass(frozen=True)
class TokenGraphs:
    """A whole token for rules whose exit the host need not decide: `start` once, then `token` for each position."""

    start: Captured
    token: Captured


@dataclass(frozen=True)
class LayerGraphs:
    """For rules that ask after the layers first..last - 1, a graph a layer.

    Attributes:
        start: begins a text and runs to the first question, after layer `first`.
        descend: descend[layer] runs from the question before up to the question after `layer`, or to `last`.
        leave: leave[layer] leaves after `layer`, and runs the next token to its first question.
    """

    first: int
    last: int
    start: Captured
    descend: dict[int, Captured]
    leave: dict[int, Captured]


class Graphs:
    """Graphs of one set of buffers' launches; those of a rule are captured when it is first used, between texts."""

    def __init__(self, launches: Launches | LaunchesInTorch, depth: int, device: torch.device) -> None:
        self._launches, self._depth, self._device = launches, depth, device
        self._of_tokens: dict[tuple[object, ...], TokenGraphs] = {}
        self._of_layers: dict[tuple[object, ...], LayerGraphs] = {}

    def of_tokens(self, rule: Rule) -> TokenGraphs:
        """For full, static and oracle rules, and those with nothing to ask."""
        key = rule.is_oracle, rule.last_layer, rule.state_copying
        if key not in self._of_tokens:
            self._of_tokens[key] = self._capture_tokens(rule)
        return self._of_tokens[key]

    def of_layers(self, rule: Rule, measure: Measure) -> LayerGraphs:
        """For rules with a measure and at least one layer to ask after."""
        key = measure, rule.min_layer, rule.last_layer, rule.state_copying
        if key not in self._of_layers:
            self._of_layers[key] = self._capture_layers(rule, measure)
        return self._of_layers[key]

    def _capture_tokens(self, rule: Rule) -> TokenGraphs:
        launches, last = self._launches, rule.last_layer or self._depth

        def token() -> None:
            for layer in range(1, last + 1):
                launches.layer(layer)
            if rule.is_oracle:
                launches.find_agreeing_layer()
            launches.leave(None if rule.is_oracle else last, rule.state_copying, token_known=rule.is_oracle)

        return TokenGraphs(self._captured(launches.start), self._captured(token))

    def _capture_layers(self, rule: Rule, measure: Measure) -> LayerGraphs:
        launches, first, last = self._launches, rule.min_layer, rule.last_layer or self._depth

        def descend(layer: int) -> None:
            launches.layer(layer)
            if layer < last:
                launches.ask(measure, layer)

        def run_first() -> None:
            for layer in range(1, first):
                launches.layer(layer)
            descend(first)

        def start() -> None:
            launches.start()
            run_first()

        def leave(layer: int) -> None:
            launches.leave(layer, rule.state_copying, token_known=measure.needs_logits and layer < last)
            run_first()

        return LayerGraphs(
            first,
            last,
            self._captured(start),
            {layer: self._captured(partial(descend, layer)) for layer in range(first + 1, last + 1)},
            {layer: self._captured(partial(leave, layer)) for layer in range(first, last + 1)},
        )

    def _captured(self, launch: Callable[[], object]) -> Captured:
        self._launches.start()  # so that there is a position to run at
        return Captured(launch, self._device)
