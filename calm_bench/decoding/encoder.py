"""The encoder, run once per example: what all rules and all decoding steps share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calm_bench.decoding.layer import Context, addmm, attend, embed, feed_forward, linear, normed
from calm_bench.decoding.position_bias import encoder_bias
from calm_bench.models.weights import Weights


def encode(weights: Weights, sources: Sequence[Sequence[int]]) -> Context:
    """Encode E sources of token ids (any lengths >= 1) and project them for each decoder layer's cross-attention."""
    length = max(len(source) for source in sources)
    ids = torch.full((len(sources), length), weights.tokens.pad, dtype=torch.long)
    padding = torch.zeros(len(sources), 1, 1, length)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = torch.tensor(source)
        padding[row, ..., len(source) :] = float("-inf")
    is_padded = any(len(source) < length for source in sources)
    bias = padding.to(weights.device) if is_padded else None

    return Context(cross_keys_values(weights, ids.to(weights.device), bias), bias)


def cross_keys_values(weights: Weights, ids: Tensor, padding: Tensor | None) -> Tensor:
    """K and V of the states for each decoder layer, (L, 2, E, H, S, d_kv); ids (E, S), padding (E, 1, 1, S)."""
    states = encoder_states(weights, ids, padding)
    shape = (*ids.shape, weights.depth, 2, weights.heads, weights.d_kv)
    projected = linear(normed(weights, states), weights.cross_keys_values).view(shape)
    return projected.to(weights.dtype).permute(2, 3, 0, 4, 1, 5).contiguous()


def encoder_states(weights: Weights, ids: Tensor, padding: Tensor | None) -> Tensor:
    """States after the last encoder layer, before its final norm, (E, S, d); ids (E, S), padding (E, 1, 1, S)."""
    examples, length = ids.shape
    position_bias = encoder_bias(weights, length)  # (1, H, S, S)
    mask = position_bias if padding is None else position_bias + padding
    x = embed(weights, ids).view(-1, weights.d_model)  # (E S, d)
    for layer in weights.encoder_layers:
        qkv = linear(normed(weights, x), layer.qkv).view(examples, length, 3, weights.heads, weights.d_kv)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (E, H, S, d_kv) each
        mixed = attend(query, key, value, mask)  # (E, H, S, d_kv)
        x = addmm(x, mixed.transpose(1, 2).reshape(examples * length, -1), layer.out)
        x = feed_forward(layer.feed_forward, x, normed(weights, x))
    return x.view(examples, length, -1)
