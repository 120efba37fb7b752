"""A decoder's weights as executors read them: fused, and free of the library that they were loaded by.

Query, key and value are one matrix, and each norm's gain is folded into the matrix that follows it. Where the layers'
matrices are held in float16 their gains stand beside them, so that they are the checkpoint's own, and all else is
float32. Activations are float32 always, because exits in activations of 16 bits are other exits.
`decoding/layer.py` says what is computed with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from calm_bench.models.tokens import GenerationTokens


@dataclass(frozen=True)
class FeedForward:
    """x + wo(act(wi x)), or with a gate x + wo(act(wi_0 x) * wi_1 x).

    Attributes:
        gain: (d), of the norm before wi; None where it is folded in. Likewise `gain` and `cross_gain` of the layers.
    """

    wi: Tensor  # (d_ff or 2 d_ff, d)
    wo: Tensor  # (d_ff, d)
    activation: Callable[[Tensor], Tensor]
    gated: bool
    gain: Tensor | None


@dataclass(frozen=True)
class EncoderLayer:
    qkv: Tensor  # (3 H d_kv, d)
    out: Tensor  # (H d_kv, d)
    feed_forward: FeedForward
    gain: Tensor | None


@dataclass(frozen=True)
class DecoderLayer:
    qkv: Tensor  # (3 H d_kv, d)
    out: Tensor  # (H d_kv, d)
    cross_query: Tensor  # (H d_kv, d)
    cross_out: Tensor  # (H d_kv, d)
    feed_forward: FeedForward
    gain: Tensor | None
    cross_gain: Tensor | None


@dataclass(frozen=True)
class PositionBuckets:
    """T5's relative positions: a bias for each bucket of distances and each head, and which distances share one."""

    bias: Tensor  # (buckets, H)
    max_distance: int
    bidirectional: bool


@dataclass(frozen=True)
class Weights:
    """What an executor needs of a model, on one device.

    Attributes:
        tokens: which tokens start, pad and end a text.
        heads, d_kv: H and the width of a head; the scores of queries and keys are not scaled.
        epsilon: what the RMS norms add to the mean square.
        embedding: (V, d).
        cross_keys_values: K and V of the encoder's states for all decoder layers, (L 2 H d_kv, d).
        head: the output head, (V, d).
        learned: the learned measures' modules by name, in float32.
    """

    tokens: GenerationTokens
    heads: int
    d_kv: int
    epsilon: float
    embedding: Tensor
    encoder_layers: list[EncoderLayer]
    encoder_positions: PositionBuckets
    decoder_layers: list[DecoderLayer]
    decoder_positions: PositionBuckets
    cross_keys_values: Tensor
    head: Tensor
    learned: Mapping[str, nn.Module]

    @property
    def depth(self) -> int:
        """L, the number of decoder layers."""
        return len(self.decoder_layers)

    @property
    def d_model(self) -> int:
        """d, the width of the residual stream."""
        return self.embedding.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """What the layers' matrices are held in."""
        return self.decoder_layers[0].qkv.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    @cached_property
    def self_keys_values(self) -> Tensor:
        """K and V of all decoder layers, (L 2 H d_kv, d): a token that leaves at layer i takes the rows above i."""
        return torch.cat([layer.qkv[self.heads * self.d_kv :] for layer in self.decoder_layers])
