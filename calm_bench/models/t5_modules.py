"""A T5's decoder layer at one position, in the modules of transformers and without a cache: the definition's steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def run_layer(t5: Any, layer: int, state: Tensor, past: Sequence[tuple[int, Tensor]], encoded: Tensor) -> Tensor:
    """As `EarlyExitModel.run_layer` says; `encoded` are the encoder's states, (1, S, d)."""
    attention, cross_attention, feed_forward = t5.decoder.block[layer - 1].layer
    query = _split_heads(t5, attention.SelfAttention.q(attention.layer_norm(state)))  # (1, H, 1, d_kv)
    key, value = (torch.cat(part, dim=2) for part in zip(*(_project(t5, *source) for source in past), strict=True))
    bias = t5.decoder.block[0].layer[0].SelfAttention.compute_bias(len(past), len(past))[:, :, -1:]  # (1, H, 1, t)
    weights = (query @ key.transpose(-1, -2) + bias).softmax(-1)  # T5 does not scale by the square root of d_kv
    mixed = (weights @ value).transpose(1, 2).reshape(1, 1, -1)  # (1, 1, H d_kv)
    state = state + attention.SelfAttention.o(mixed)
    state = cross_attention(state, key_value_states=encoded)[0]
    return feed_forward(state)


def _project(t5: Any, layer: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """Key and value, (1, H, 1, d_kv) each, that a layer (1..L) projects from a state (1, 1, d)."""
    attention = t5.decoder.block[layer - 1].layer[0]
    normed = attention.layer_norm(state)
    return _split_heads(t5, attention.SelfAttention.k(normed)), _split_heads(t5, attention.SelfAttention.v(normed))


def _split_heads(t5: Any, projected: Tensor) -> Tensor:
    """(1, t, H d_kv) as (1, H, t, d_kv)."""
    return projected.view(1, -1, t5.config.num_heads, t5.config.d_kv).transpose(1, 2)
