"""Training on what decoding will see: some positions stop at an early layer, and later ones attend to their copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def random_exit_layers(labels: Tensor, depth: int, share: float) -> Tensor:
    """An exit layer for each target position, (batch, T): 1..L-1, all alike, for this share of them, else L."""
    early = torch.randint(1, max(depth, 2), labels.shape, device=labels.device)
    exits = torch.rand(labels.shape, device=labels.device) < share
    return torch.where(exits, early, depth).clamp(max=depth)


@contextmanager
def frozen_above(t5: Any, exit_layers: Tensor) -> Iterator[None]:
    """While this holds, each position of a decoder pass keeps its state from its exit layer (batch, T) on.

    The layers above project their keys and values from that state, exactly as state copying has it in decoding (CALM,
    section 3.3.1). What a layer predicts for a position that has left below it means nothing.
    """

    def keep(layer: int, _: nn.Module, args: tuple[Any, ...], output: tuple[Any, ...]) -> tuple[Any, ...]:
        left = (exit_layers < layer)[..., None]
        return (torch.where(left, args[0].to(output[0].dtype), output[0]), *output[1:])

    hooks = [
        block.register_forward_hook(lambda *call, layer=layer: keep(layer, *call))
        for layer, block in enumerate(t5.decoder.block, 1)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
