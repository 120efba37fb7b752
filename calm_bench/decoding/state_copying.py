"""What stands in the cache for layers that a token has skipped (CALM, sections 3.2 and 3.3.1).

exit_state      the paper's: each skipped layer's own projections of the exit layer's state
first_state     the same of the first layer's state: the paper's ablation, and what its released code does
projected_kv    the exit layer's own keys and values, for every layer above it: the paper's bad ablation
true_state      nothing is copied: the token runs on through all layers, and only its text is an early exit's. It saves
                nothing and serves to isolate the error that copying makes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calm_bench.choices import StateCopying

if TYPE_CHECKING:
    from calm_bench.decoding.cache import KeyValueCache
    from calm_bench.decoding.weights import FusedT5

KINDS: tuple[StateCopying, ...] = get_args(StateCopying)


def source(kind: StateCopying, layer: int, exit_layer: int) -> tuple[int, int]:
    """(k, i): the keys and values of a skipped layer are those which layer k projects from the state d^i."""
    match kind:
        case "exit_state":
            return layer, exit_layer
        case "first_state":
            return layer, 1
        case "projected_kv":
            return exit_layer, exit_layer - 1
        case "true_state":
            return layer, layer - 1


def fill_skipped(
    kind: StateCopying,
    weights: FusedT5,
    cache: KeyValueCache,
    step: int,
    slots: NDArray[np.int64],
    exit_layer: int,
    state: Tensor,
    first_state: Callable[[], Tensor],
) -> None:
    """Write the skipped layers' keys and values of n rows that left after `exit_layer`: `source`, all layers at once.

    Args:
        slots: where the rows' caches are, (n,).
        state: the rows' states after the exit layer, (n, d).
        first_state: gives their states after layer 1, (n, d).
    """
    match kind:
        case "exit_state":
            copied = weights.skipped_keys_values(exit_layer, state)
        case "first_state":
            copied = weights.skipped_keys_values(exit_layer, first_state())
        case "projected_kv":
            copied = cache.read(exit_layer, slots, step)[:, None]
        case "true_state":
            return  # the rows ran on, so every layer has written its own
    cache.write_above(exit_layer, slots, step, copied)
