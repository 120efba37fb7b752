"""T5's relative position bias: exact buckets for near positions, logarithmic ones up to a maximum distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calm_bench.models.weights import PositionBuckets, Weights


def encoder_bias(weights: Weights, length: int) -> Tensor:
    """Bias of each of `length` positions towards each other, (1, H, length, length)."""
    position = torch.arange(length, device=weights.device)
    return bias_of(weights.encoder_positions, position[None, :] - position[:, None]).permute(2, 0, 1)[None]


def decoder_bias(weights: Weights, length: int) -> Tensor:
    """Bias of a query at the last of `length` positions towards each of them, (1, H, 1, length).

    The bias depends on the distance alone: the step with t positions reads the last t columns.
    """
    distance = torch.arange(length, device=weights.device) - (length - 1)
    return bias_of(weights.decoder_positions, distance).T[None, :, None]


def bias_of(positions: PositionBuckets, relative: Tensor) -> Tensor:
    """Bias (..., H) of key positions relative to the query's (...)."""
    buckets = len(positions.bias) // 2 if positions.bidirectional else len(positions.bias)
    offset = (relative > 0).long() * buckets if positions.bidirectional else 0
    distance = relative.abs() if positions.bidirectional else (-relative).clamp(min=0)
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(positions.max_distance / exact)
    logarithmic = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return positions.bias[offset + torch.where(distance < exact, distance, logarithmic)]
