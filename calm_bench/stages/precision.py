"""Stage 2, beside decoding: what holding weights, keys and values in bfloat16 has changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.tasks.task import Example, Task

SAMPLE = 50  # examples decoded in both, spread over all of them


def float32_agreement(
    decoder: Decoder, task: Task, examples: Sequence[Example], rules: Sequence[Rule], batch_size: int
) -> dict[str, float] | None:
    """How often a model that is not held in float32 does what it does in float32, over all rules; None for one that is.

    n: examples compared. texts: share of the texts (of every example and rule) that are the same, token by token.
    exit_layers: share of the tokens in those texts that left at the same layer.
    """
    if decoder.dtype == "float32":
        return None
    spread = np.linspace(0, len(examples) - 1, min(SAMPLE, len(examples))).round().astype(int)
    sources = decoder.model.tokenize([examples[index].source for index in spread], task.max_source_tokens)
    held, exact = (
        one.decode(sources, rules, task.max_new_tokens, batch_size=batch_size)
        for one in (decoder, Decoder(decoder.model, "float32", decoder.executor))
    )
    same = (held.token_ids == exact.token_ids).all(-1)
    there = (exact.exit_layers > 0) & same[..., None]
    exits = (held.exit_layers == exact.exit_layers)[there]
    return {"n": len(spread), "texts": float(same.mean()), "exit_layers": float(exits.mean()) if len(exits) else 1.0}
