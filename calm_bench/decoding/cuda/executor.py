"""The executor `cuda`: one text under one rule at a time, started from the host a token or a layer at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from sysconfig import get_path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from calm_bench.decoding.cuda.buffers import Buffers
from calm_bench.decoding.cuda.encoder import Encoder
from calm_bench.decoding.cuda.graphs import Graphs
from calm_bench.decoding.cuda.launches_in_torch import LaunchesInTorch
from calm_bench.decoding.cuda.session import Session
from calm_bench.decoding.cuda.tiles import SHORTEST_SOURCE, SHORTEST_TEXT, Tiles, power_of_two
from calm_bench.decoding.cuda.weight_rows import ACTIVATIONS, WeightRows
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.rule import Rule
from calm_bench.measures import Classifier, Entropy, MaxProb, Measure, MlpClassifier, Softmax, State
from calm_bench.models.model import EarlyExitModel

if TYPE_CHECKING:
    from calm_bench.decoding.cuda.launches import Launches

log = logging.getLogger(__name__)

PYTHON_HEADER = Path(get_path("include")) / "Python.h"
COPIED_BYTES = 1 << 29  # far more than any cache holds
MEASURES: tuple[type[Measure], ...] = (State, Classifier, MlpClassifier, Softmax, MaxProb, Entropy)  # with kernels


class Cuda:
    """Rules whose exits Triton kernels decide or need not decide, on an NVIDIA GPU; without kernels, torch does.

    Attributes:
        weight_bytes: of weights that were read, as `CountsWeights` has it; without layers launched for nothing.
    """

    name: ClassVar[str] = "cuda"

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype) -> None:
        self._weights = model.weights(dtype)
        self._rows = WeightRows(self._weights, model.activation)
        self._encoder = Encoder(self._weights)
        self._session: Session | None = None
        self.weight_bytes = 0
        self._no_kernels = no_kernels(model.activation)
        if self._no_kernels and model.device.type == "cuda":
            log.info(
                "the cuda executor captures torch's operations, which are slower than its kernels: %s", self._no_kernels
            )

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> str | None:
        if model.device.type != "cuda":
            return f"it needs an NVIDIA GPU, and the model is on {model.device}"
        if model.family != "t5":
            return "it knows T5 alone"
        return None

    def refuses(self, rule: Rule) -> str | None:
        if rule.drafts:
            return "it has no kernel that verifies drafts"
        if rule.measure is not None and type(rule.measure) not in MEASURES:
            return f"it has no kernel for the measure {rule.measure.name}"
        return None

    @torch.inference_mode()
    def encode(self, sources: Sequence[Sequence[int]]) -> list[Tensor]:
        """Of each source K and V for each decoder layer, (L, 2, H, S, d_kv)."""
        self.weight_bytes += len(sources) * self._encoder.weight_bytes
        return [self._encoder(source) for source in sources]

    @torch.inference_mode()
    def run(self, context: Sequence[Tensor], rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        for rule in rules:
            rule.check_layers(self._rows.depth)
        result = Generations.empty(len(context), len(rules), max_new_tokens)
        session = self._roomy_session(max_new_tokens, max(source.shape[3] for source in context))
        for example, source in enumerate(context):
            session.read(source)
            for index, rule in enumerate(rules):
                text = session.write(rule, max_new_tokens)
                self.weight_bytes += sum(self._bytes_read(rule, token.exit_layer) for token in text)
                where = example, index, slice(len(text))
                result.token_ids[where], result.exit_layers[where], result.confidences[where] = zip(*text, strict=True)
        return result

    def read_weights(self) -> int:
        """Copy memory from the card to the card, as much as its cache does not hold: bytes read and written."""
        memory = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=self._weights.device)
        return memory.nbytes + memory.clone().nbytes

    def _bytes_read(self, rule: Rule, exit_layer: int) -> int:
        """Of weights, for a token that leaves at this layer."""
        layers, heads = exit_layer, 1
        if rule.is_oracle:
            layers = heads = self._rows.depth
        elif rule.measure is not None:
            if rule.state_copying == "true_state":
                layers = rule.last_layer or self._rows.depth
            if rule.measure.needs_logits:
                heads = max(1, exit_layer - rule.min_layer + 1)  # one a question; that of the exit gives its token
        return layers * self._rows.layers[0].nbytes + heads * self._rows.head.nbytes

    def _roomy_session(self, positions: int, source_positions: int) -> Session:
        """The session in use, or where texts or sources are too long for it, one of larger buffers in its place."""
        held = self._session
        if held is None or positions > held.positions or source_positions > held.source_positions:
            positions = power_of_two(max(positions, held.positions if held else SHORTEST_TEXT))
            source_positions = power_of_two(max(source_positions, held.source_positions if held else SHORTEST_SOURCE))
            self._session = held = None  # its memory is free before another takes more
            tiles = Tiles(self._rows, positions, source_positions)
            buffers = Buffers(self._rows, tiles)
            graphs = Graphs(self._launches(tiles, buffers), self._rows.depth, self._weights.device)
            self._session = held = Session(buffers, graphs, self._weights.tokens.ends)
        return held

    def _launches(self, tiles: Tiles, buffers: Buffers) -> Launches | LaunchesInTorch:
        if self._no_kernels:
            return LaunchesInTorch(self._weights, buffers)
        from calm_bench.decoding.cuda.launches import Launches  # imports triton, which is not everywhere

        return Launches(self._rows, tiles, buffers, self._weights.tokens.start)


def no_kernels(activation: str) -> str | None:
    """Why no kernels can be had here for a model with this activation, in words that follow a colon; or None."""
    if find_spec("triton") is None:
        return "triton is not installed"
    if not (os.environ.get("CC") or which("gcc") or which("clang")) or not PYTHON_HEADER.exists():
        return "triton needs a C compiler and Python's header files"
    if activation not in ACTIVATIONS:
        return f"none is written for the activation {activation}"
    return None
