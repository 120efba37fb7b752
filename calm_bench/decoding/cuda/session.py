"""Writing texts: the host starts graphs, and reads answers and tokens from its own memory as they come."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from calm_bench.decoding.cuda.buffers import BROKEN, UNANSWERED, Buffers
from calm_bench.decoding.cuda.graphs import Graphs, LayerGraphs, TokenGraphs
from calm_bench.decoding.rule import Rule
from calm_bench.measures import Measure

SPINS = 10_000_000  # reads of an answer before the device is asked what has become of it: about a second
WORTH_IT = 0.7  # how likely the next layer must be needed before it is launched without waiting for the answer
NEWEST = 0.25  # weight of the newest token in that likelihood


class Written(NamedTuple):
    """A token, its exit layer 1..L, and the measure's confidence there, NaN if it was not asked."""

    token: int
    exit_layer: int
    confidence: float


class Session:
    """One set of buffers and the graphs captured over it; texts are written in it one after another.

    Attributes:
        positions, source_positions: the longest text and source that it has room for.
    """

    def __init__(self, buffers: Buffers, graphs: Graphs, ends: Collection[int]) -> None:
        """`ends` are the tokens that end a text."""
        self._buffers, self._graphs, self._ends = buffers, graphs, frozenset(ends)
        self.positions, self.source_positions = buffers.positions, buffers.source_positions
        self._depth = buffers.confidences.shape[1]
        self._confidences = buffers.confidences.view(-1).numpy().data
        self._written = buffers.written.numpy().data
        self._likely: dict[Rule, list[float]] = {}  # of each layer, that a token which asks there goes on

    def read(self, cross: Tensor) -> None:
        """Take the K and V of a source, (L, 2, H, S, d_kv), S at most `source_positions`."""
        length = cross.shape[3]
        self._buffers.cross[:, :, :, :length] = cross
        self._buffers.source_length.fill_(length)

    def write(self, rule: Rule, max_new_tokens: int) -> list[Written]:
        """The text of that source under a rule.

        Raises FloatingPointError where a confidence or an exit's state is NaN.
        """
        if rule.measure is None or rule.min_layer >= (rule.last_layer or self._depth):
            tokens = self._graphs.of_tokens(rule)
            self._begin()
            return self._write_unasked(tokens, max_new_tokens)
        layers = self._graphs.of_layers(rule, rule.measure)
        self._begin()
        return self._write_asking(rule, rule.measure, layers, max_new_tokens)

    def _begin(self) -> None:
        if self._buffers.states.is_cuda:
            torch.cuda.synchronize(self._buffers.states.device)  # what the last text launched too much may still run
        self._buffers.clear_answers()

    def _write_unasked(self, graphs: TokenGraphs, max_new_tokens: int) -> list[Written]:
        """A token is launched while the one before it runs, so that the device never waits."""
        text: list[Written] = []
        graphs.start()
        graphs.token()
        for step in range(max_new_tokens):
            if step + 1 < max_new_tokens:
                graphs.token()
            text.append(self._read_token(step, math.nan))
            if text[-1].token in self._ends:
                break
        return text

    def _write_asking(self, rule: Rule, measure: Measure, graphs: LayerGraphs, max_new_tokens: int) -> list[Written]:
        """A layer is launched once the measure has said that it is needed, or before that where it is likely to be."""
        text: list[Written] = []
        likely = self._likely.setdefault(rule, [0.5] * (self._depth + 1))
        graphs.start()
        for step in range(max_new_tokens):
            threshold = rule.threshold_at(step, max_new_tokens)
            layer = launched = graphs.first
            confidence = math.nan
            while layer < graphs.last:
                if launched == layer and likely[layer] > WORTH_IT:
                    launched += 1
                    graphs.descend[launched]()
                confidence = self._read_confidence(measure, step, layer)
                goes_on = confidence < threshold
                likely[layer] += NEWEST * (goes_on - likely[layer])
                if not goes_on:
                    break
                layer, confidence = layer + 1, math.nan
                if launched < layer:
                    launched = layer
                    graphs.descend[launched]()
            while launched < graphs.last and rule.state_copying == "true_state":
                launched += 1
                graphs.descend[launched]()
            graphs.leave[layer]()
            text.append(self._read_token(step, confidence))
            if text[-1].token in self._ends:
                break
        return text

    def _read_confidence(self, measure: Measure, step: int, layer: int) -> float:
        confidence: float = self._await(self._confidences, step * self._depth + layer - 1, UNANSWERED)
        if math.isnan(confidence):
            raise FloatingPointError(f"confidence of {measure.name} is NaN at layer {layer}, position {step}")
        return confidence

    def _read_token(self, step: int, confidence: float) -> Written:
        exit_layer, token = divmod(int(self._await(self._written, step, 0)), 1 << 32)
        if token == BROKEN:
            raise FloatingPointError(f"state is NaN at layer {exit_layer}, position {step}")
        return Written(token, exit_layer, confidence)

    def _await(self, answers: memoryview, index: int, unanswered: float) -> float:
        """An answer in the host's memory, once the device has written it."""
        for _ in range(SPINS):
            if (answer := answers[index]) != unanswered:
                return answer
        torch.cuda.synchronize(self._buffers.states.device)  # long overdue: says what went wrong on the device
        return answers[index]
