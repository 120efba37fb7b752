"""The encoder for one source at a time: `decoding/encoder.py`, for short sources in captured graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calm_bench.captured import Captured
from calm_bench.decoding.cuda.tiles import power_of_two
from calm_bench.decoding.encoder import cross_keys_values, encode
from calm_bench.models.weights import Weights

LONGEST = 512  # a power of two


@dataclass(frozen=True)
class LengthGraph:
    """What encodes a source padded to T tokens.

    Attributes:
        source: the source's length and its token ids, in the host's memory, (1 + T,).
        encode: reads them and writes `keys_values`.
        keys_values: K and V for each decoder layer, (L, 2, 1, H, T, d_kv).
    """

    source: Tensor
    encode: Captured
    keys_values: Tensor


class Encoder:
    """Encodes sources; up to LONGEST tokens padded by an eighth at most, or to 16, each such length a graph.

    Beyond that length the products take longer than their launches, and a graph saves nothing. A graph is captured when
    its length is first wanted; all use the same memory, one after another.

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
        size = weights.depth * 2 * weights.heads * LONGEST * weights.d_kv
        self._result = torch.empty(size, device=weights.device, dtype=weights.dtype)
        self._pool = torch.cuda.graph_pool_handle() if weights.device.type == "cuda" else None

    def __call__(self, source: Sequence[int]) -> Tensor:
        """K and V of a source of S token ids for each decoder layer, (L, 2, H, S, d_kv)."""
        length = len(source)
        if length > LONGEST:
            return encode(self._weights, [source]).keys_values[:, :, 0]
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
        shape = w.depth, 2, 1, w.heads, padded, w.d_kv
        keys_values = self._result[: math.prod(shape)].view(shape)

        def launch() -> None:
            source.copy_(host, non_blocking=True)
            padding = torch.zeros(padded, device=w.device).masked_fill(position >= source[0], float("-inf"))
            keys_values.copy_(cross_keys_values(w, source[None, 1:], padding[None, None, None]))

        return LengthGraph(host, Captured(launch, w.device, self._pool), keys_values)
