"""One text under one rule in C, for a CPU: seconds at batch 1 without Python's own."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from calm_bench.decoding.generations import Generations
from calm_bench.decoding.native.build import NotBuilt, library
from calm_bench.decoding.native.structures import CRule, Text
from calm_bench.decoding.native.weights import ACTIVATIONS, Layout, NativeWeights, padded
from calm_bench.decoding.rule import Rule
from calm_bench.decoding.state_copying import KINDS
from calm_bench.measures import Classifier, Entropy, MaxProb, Measure, MlpClassifier, Softmax, SoftmaxTopk, State
from calm_bench.models.model import EarlyExitModel

ALIGNMENT = 64
FLOAT_BYTES = 4
READINGS = 10  # as many as a short text's tokens
NEVER, ORACLE = 0, 1
# The numbers of model.h. A subclass may mean something else, so the type itself is looked up.
LEARNED = 6
MEASURES: dict[type[Measure], int] = {
    State: 2,
    Softmax: 3,
    MaxProb: 4,
    Entropy: 5,
    Classifier: LEARNED,
    MlpClassifier: LEARNED,
    SoftmaxTopk: 7,
}


@dataclass(frozen=True)
class Encoded:
    """Cross-attention keys and values of one source of `length` tokens, as C lays them out."""

    length: int
    keys: NDArray[np.float32]
    values: NDArray[np.float32]


class Native:
    """An `Executor` for T5 at batch 1 on a CPU; the texts and rules it is given are decoded one after another.

    Attributes:
        weight_bytes: of weights that were read, as `CountsWeights` has it.
        heads: how often the output head was asked for.
        rescored: logits that the int8 head left open, and that were computed exactly.
        narrowed: heads whose bounds did not decide at once.
    """

    name: ClassVar[str] = "native"

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype, *, int8: bool = False, preview: bool = True) -> None:
        self._library = library()
        float16 = bool(self._library.reads_float16())
        layout = Layout(self._library.panel_outputs(), model.activation, int8, preview, float16)
        if float16 and not int8 and dtype is torch.float32 and model.fits_float16():
            dtype = torch.float16  # the same numbers, and half the bytes to read
        self._weights = NativeWeights(model.weights(dtype), layout)
        self._model = byref(self._weights.structure)
        self._rules: dict[tuple[Rule, int], CRule] = {}
        self._buffers = np.zeros(0, np.uint8)
        self._memory = np.ones(self._weights.token_bytes // FLOAT_BYTES, np.float32)
        self.weight_bytes = self.heads = self.rescored = self.narrowed = 0

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> str | None:
        if model.device.type != "cpu":
            return f"it runs on a CPU, and the model is on {model.device.type}"
        if model.family != "t5" or model.activation not in ACTIVATIONS:
            return f"it knows T5 with {' or '.join(ACTIVATIONS)} alone"
        try:
            library()
        except NotBuilt as reason:
            return str(reason)
        return None

    def refuses(self, rule: Rule) -> str | None:
        if rule.measure is None or type(rule.measure) in MEASURES:
            return None
        return f"it has no code for the measure {rule.measure.name}"

    def encode(self, sources: Sequence[Sequence[int]]) -> list[Encoded]:
        return [self._encode(np.array(source, np.int32)) for source in sources]

    def run(self, context: list[Encoded], rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        result = Generations.empty(len(context), len(rules), max_new_tokens)
        for r, rule in enumerate(rules):
            for e, encoded in enumerate(context):
                text = Text(*(at(part[e, r]) for part in (result.token_ids, result.exit_layers, result.confidences)))
                self._decode(encoded, self._rule(rule, max_new_tokens), max_new_tokens, text)
        return result

    def read_weights(self) -> int:
        for _ in range(READINGS):
            self._library.read_memory(at(self._memory), len(self._memory))
        return READINGS * self._memory.nbytes

    def _encode(self, source: NDArray[np.int32]) -> Encoded:
        length = len(source)
        if source.min() < 0 or source.max() >= self._weights.vocab:
            raise IndexError(f"a source has token {source.max()}, the model knows 0 to {self._weights.vocab - 1}")
        floats = self._weights.depth * self._library.memory_floats(self._model, length)
        keys, values = np.empty((2, floats), np.float32)
        self._library.encode(self._model, at(source), length, self._room(length, 1), at(keys), at(values))
        self.weight_bytes += self._weights.encoder_bytes
        return Encoded(length, keys, values)

    def _decode(self, source: Encoded, rule: CRule, max_new_tokens: int, text: Text) -> None:
        sizes = source.length, max_new_tokens
        length = self._library.decode(
            self._model, byref(rule), at(source.keys), at(source.values), *sizes, self._room(*sizes), byref(text)
        )
        self.heads += text.heads
        self.rescored += text.rescored
        self.narrowed += text.narrowed
        self.weight_bytes += text.layers * self._weights.layer_bytes + text.heads * self._weights.head_bytes
        if text.broken_layer:
            raise FloatingPointError(f"state or confidence is NaN at layer {text.broken_layer}, position {length}")

    def _room(self, source_length: int, max_new_tokens: int) -> int:
        """Where the library may write; texts that follow one another share it."""
        size = self._library.buffer_bytes(self._model, source_length, max_new_tokens) + ALIGNMENT
        if size > len(self._buffers):
            self._buffers = np.zeros(size, np.uint8)
        return padded(at(self._buffers), ALIGNMENT)

    def _rule(self, rule: Rule, max_new_tokens: int) -> CRule:
        if (rule, max_new_tokens) not in self._rules:
            self._rules[rule, max_new_tokens] = self._made(rule, max_new_tokens)
        return self._rules[rule, max_new_tokens]

    def _made(self, rule: Rule, max_new_tokens: int) -> CRule:
        depth = self._weights.depth
        rule.check_layers(depth)
        made = CRule(last_layer=rule.last_layer or depth, state_copying=KINDS.index(rule.state_copying))
        measure = rule.measure
        if rule.drafts:
            made.drafts, made.first_layer = rule.drafts, rule.min_layer
            return made
        if measure is None:
            made.measure, made.first_layer = ORACLE if rule.is_oracle else NEVER, depth + 1
            return made
        steps = [rule.threshold_at(step, max_new_tokens) for step in range(max_new_tokens)]
        made.measure, made.first_layer = MEASURES[type(measure)], rule.min_layer
        made.thresholds = self._weights.arena.address(steps, np.float64)
        if made.measure == LEARNED:
            made.probes = self._weights.probes(str(measure.learned))
        if isinstance(measure, SoftmaxTopk):
            made.k, made.memory_layer = min(measure.k, self._weights.vocab), measure.layer
            made.token_from_set = measure.own_token
        return made


def at(values: NDArray[Any]) -> int:
    """The address of an array's first element."""
    return values.ctypes.data
