"""The encoder for one source at a time: `decoding/encoder.py` in captured graphs, one for each of some lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calm_bench.decoding.cuda.capture import Captured
from calm_bench.decoding.cuda.tiles import power_of_two
from calm_bench.decoding.encoder import cross_keys_values
from calm_bench.models.weights import Weights


@dataclass(frozen=True)
class LengthGraph:
    """What encodes a source of at most T tokens.

    Attributes:
        source: the source's length and its token ids, in the host's memory, (1 + T,).
        encode: reads them and writes `keys_values`.
        keys_values: K and V for each decoder layer, (L, 2, 1, H, T, d_kv).
    """

    source: Tensor
    encode: Captured
    keys_values: Tensor


class Encoder:
    """Encodes sources, padded by an eighth at most beyond 16 tokens; a length's graph is captured when first wanted.

    Attributes:
        weight_bytes: of the weights that each source reads.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        matrices = [weights.cross_keys_values]
        for layer in weights.encoder_layers:
            matrices += [layer.qkv, layer.out, layer.feed_forward.wi, layer.feed_forward.wo]
        self.weight_bytes = sum(matrix.nbytes for matrix in matrices)
        self._graphs: dict[int, LengthGraph] = {}

    def __call__(self, source: Sequence[int]) -> Tensor:
        """K and V of a source of S token ids for each decoder layer, (L, 2, H, S, d_kv)."""
        length = len(source)
        step = max(16, power_of_two(length) // 16)
        padded = -(-length // step) * step
        if padded not in self._graphs:
            self._graphs[padded] = self._capture(padded)
        graph = self._graphs[padded]
        if self._weights.device.type == "cuda":
            torch.cuda.synchronize(self._weights.device)  # the source before may not have been read yet
        graph.source[: length + 1] = torch.tensor([length, *source])
        graph.encode()
        return graph.keys_values[:, :, 0, :, :length].clone()

    def _capture(self, padded: int) -> LengthGraph:
        w = self._weights
        host = torch.ones(1 + padded, dtype=torch.long, pin_memory=w.device.type == "cuda")
        source, position = host.to(w.device), torch.arange(padded, device=w.device)
        keys_values = torch.empty(w.depth, 2, 1, w.heads, padded, w.d_kv, device=w.device, dtype=w.dtype)

        def launch() -> None:
            source.copy_(host, non_blocking=True)
            padding = torch.zeros(padded, device=w.device).masked_fill(position >= source[0], float("-inf"))
            keys_values.copy_(cross_keys_values(w, source[None, 1:], padding[None, None, None]))

        return LengthGraph(host, Captured(launch, w.device), keys_values)
