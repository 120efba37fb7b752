"""The encoder, run once per example: what all rules and all decoding steps share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from calm_bench.decoding.weights import FusedT5


@dataclass(frozen=True)
class Memory:
    """Cross-attention keys and values of E examples, and which of their positions are padding.

    Attributes:
        keys_values: (L, 2, E, H, S, d_kv), in the weights' dtype.
        bias: 0 on tokens and -inf on padding, (E, 1, 1, S); None when nothing is padded.
    """

    keys_values: Tensor
    bias: Tensor | None

    @property
    def examples(self) -> int:
        return self.keys_values.shape[2]


def encode(weights: FusedT5, sources: Sequence[Sequence[int]]) -> Memory:
    """Encode E sources of token ids (any lengths >= 1) and project them for each decoder layer's cross-attention."""
    length = max(len(source) for source in sources)
    ids = torch.full((len(sources), length), weights.pad_token, dtype=torch.long)
    padding = torch.zeros(len(sources), 1, 1, length)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = torch.tensor(source)
        padding[row, ..., len(source) :] = float("-inf")
    is_padded = any(len(source) < length for source in sources)
    bias = padding.to(weights.device) if is_padded else None

    states = encoder_states(weights, ids.to(weights.device), bias)
    shape = (len(sources), length, weights.depth, 2, weights.heads, weights.d_kv)
    projected = weights.products.linear(weights.normed(states), weights.cross_keys_values).view(shape)
    return Memory(projected.to(weights.dtype).permute(2, 3, 0, 4, 1, 5).contiguous(), bias)


def encoder_states(weights: FusedT5, ids: Tensor, bias: Tensor | None) -> Tensor:
    """States after the last encoder layer, before its final norm, (E, S, d); ids (E, S)."""
    examples, length = ids.shape
    position_bias = weights.encoder_bias(length)
    mask = position_bias if bias is None else position_bias + bias
    x = weights.embed(ids).view(-1, weights.d_model)
    linear, addmm = weights.products.linear, weights.products.addmm
    for layer in weights.encoder_layers:
        qkv = linear(weights.normed(x), layer.qkv).view(examples, length, 3, weights.heads, weights.d_kv)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        x = addmm(x, mixed.transpose(1, 2).reshape(examples * length, -1), layer.out)
        x = layer.feed_forward(x, weights.normed(x))
    return x.view(examples, length, -1)
