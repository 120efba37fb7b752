"""The memory that captured graphs read and write: made once for a capacity, so that its addresses stay."""

from __future__ import annotations

import torch
from torch import Tensor

from calm_bench.decoding.cuda.tiles import Tiles
from calm_bench.decoding.cuda.weight_rows import WeightRows

UNANSWERED = float("inf")  # no confidence is
BROKEN = (1 << 32) - 1  # written in place of a token whose state has a NaN


class Buffers:
    """One text's states, caches and answers.

    `confidences` and `written` lie in the host's memory: kernels write there, and the host reads without asking the
    device. They and the cache have room for one position more than a text, for layers that are launched before its end
    is known.

    Attributes:
        positions, source_positions: T and S, the longest text and source.
        states: before layer 1 and after each layer, (L + 1, d).
        after_attention, after_cross: within a layer, (d,).
        query, hidden, units: (H d_kv,), (d_ff,), and those of the MLP classifier, if the model has one.
        mixed, highest, total: of the shares of an attention, (shares H d_kv,) and (shares H,) twice.
        cache: K and V, (L, 2, H, T + 1, d_kv). bias: by head and distance, (H, T + 1).
        cross: K and V of the source, (L, 2, H, S, d_kv).
        best, statistics: of the head's programs, (L + 1, programs) and (L + 1, 4, programs).
        position, source_length, exit_layer: one number each. layers: the numbers 0..L, 16 bytes apart
            so that all their addresses compile alike, (L + 1, 4).
        confidences: (T + 1, L). written: exit layer and token, (layer << 32) + token, or 0, (T + 1,).
    """

    def __init__(self, weights: WeightRows, tiles: Tiles) -> None:
        self.positions, self.source_positions = tiles.positions, tiles.source_positions
        device, depth, heads, d_kv = weights.head.device, weights.depth, weights.heads, weights.d_kv

        def floats(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        def integers(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device, dtype=torch.int32)

        def keys_values(length: int) -> Tensor:
            return torch.zeros(depth, 2, heads, length, d_kv, device=device, dtype=weights.dtype)

        self.states = floats(depth + 1, weights.d_model)
        self.after_attention, self.after_cross = floats(weights.d_model), floats(weights.d_model)
        self.query, self.hidden, self.units = floats(weights.width), floats(weights.d_ff), floats(weights.units)
        shares = max(tiles.text.count, tiles.source.count)
        self.mixed = floats(shares * weights.width)
        self.highest, self.total = floats(shares * heads), floats(shares * heads)
        self.cache = keys_values(tiles.positions + 1)
        self.bias = weights.bias(tiles.positions + 1)
        self.cross = keys_values(tiles.source_positions)
        self.best = torch.zeros(depth + 1, tiles.head_programs, device=device, dtype=torch.int64)
        self.statistics = floats(depth + 1, 4, tiles.head_programs)
        self.position, self.source_length, self.exit_layer = integers(1), integers(1), integers(1)
        self.layers = torch.arange(depth + 1, device=device, dtype=torch.int32)[:, None].repeat(1, 4)

        pinned = device.type == "cuda"
        self.confidences = torch.empty(tiles.positions + 1, depth, pin_memory=pinned)
        self.written = torch.empty(tiles.positions + 1, dtype=torch.int64, pin_memory=pinned)

    def clear_answers(self) -> None:
        """Forget what was written for the host; nothing may be running."""
        self.confidences.fill_(UNANSWERED)
        self.written.zero_()
