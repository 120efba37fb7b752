"""What stands in the cache for layers that a token has skipped (CALM, sections 3.2 and 3.3.1).

exit_state      the paper's: each skipped layer's own projections of the exit layer's state
first_state     the same of the first layer's state: the paper's ablation, and what its released code does
projected_kv    the exit layer's own keys and values, for every layer above it: the paper's bad ablation
true_state      nothing is copied: the token runs on through all layers, and only its text is an early exit's. It saves
                nothing and serves to isolate the error that copying makes
"""

from __future__ import annotations

from typing import get_args

from calm_bench.choices import StateCopying

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
