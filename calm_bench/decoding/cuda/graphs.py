"""Captured CUDA graphs of launches: what the host starts with one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from calm_bench.decoding.cuda.launches import Launches
from calm_bench.decoding.rule import Rule
from calm_bench.measures import Measure

Replay = Callable[[], None]


@dataclass(frozen=True)
class TokenGraphs:
    """A whole token for rules whose exit the host need not decide: `start` once, then `token` for each position."""

    start: Replay
    token: Replay


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
    start: Replay
    descend: dict[int, Replay]
    leave: dict[int, Replay]


class Graphs:
    """Captures of one set of buffers' launches, each made when it is first wanted, between texts."""

    def __init__(self, launches: Launches, depth: int, device: torch.device) -> None:
        self._launches, self._depth, self._device = launches, depth, device
        self._captured: dict[tuple[object, ...], Replay] = {}

    def of_tokens(self, rule: Rule) -> TokenGraphs:
        """For full, static and oracle rules."""
        last, launches = rule.last_layer or self._depth, self._launches

        def token() -> None:
            for layer in range(1, last + 1):
                launches.layer(layer)
            if rule.is_oracle:
                launches.find_agreeing_layer()
            launches.leave(None if rule.is_oracle else last, rule.state_copying, token_known=rule.is_oracle)

        return TokenGraphs(
            self._capture(("start",), launches.start),
            self._capture(("token", last, rule.is_oracle, rule.state_copying), token),
        )

    def of_layers(self, rule: Rule, measure: Measure) -> LayerGraphs:
        """For rules with a measure that have at least one layer to ask after."""
        first, last, launches = rule.min_layer, rule.last_layer or self._depth, self._launches

        def run_first() -> None:
            for layer in range(1, first):
                launches.layer(layer)
            descend(first)

        def start(_: int) -> None:
            launches.start()
            run_first()

        def descend(layer: int) -> None:
            launches.layer(layer)
            if layer < last:
                launches.ask(measure, layer)

        def leave(layer: int) -> None:
            launches.leave(layer, rule.state_copying, token_known=measure.needs_logits and layer < last)
            run_first()

        def captured(name: str, layer: int, run: Callable[[int], None]) -> Replay:
            key = name, measure, first, layer, layer == last, rule.state_copying if name == "leave" else None
            return self._capture(key, partial(run, layer))

        return LayerGraphs(
            first,
            last,
            captured("start", first, start),
            {layer: captured("descend", layer, descend) for layer in range(first + 1, last + 1)},
            {layer: captured("leave", layer, leave) for layer in range(first, last + 1)},
        )

    def _capture(self, key: tuple[object, ...], launch: Callable[[], None]) -> Replay:
        """A graph of these launches; on a CPU, where only Triton's interpreter runs them, the launches themselves."""
        if key not in self._captured:
            self._captured[key] = launch if self._device.type == "cpu" else self._captured_graph(launch)
        return self._captured[key]

    def _captured_graph(self, launch: Callable[[], None]) -> Replay:
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            self._launches.start()
            launch()  # compiles the kernels, which a capture must not
            stream.synchronize()
            graph.capture_begin()
            launch()
            graph.capture_end()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return graph.replay
