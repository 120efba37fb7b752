"""The executor for many texts and many rules in one pass, in torch; it serves every rule, on every device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from calm_bench.decoding.encoder import encode
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.grid.batch import Batch
from calm_bench.decoding.layer import Context
from calm_bench.decoding.rule import Rule
from calm_bench.models.model import EarlyExitModel


class Grid:
    """An `Executor` that refuses nothing. A speculative rule's text it takes from the full model, drafts and all."""

    name: ClassVar[str] = "grid"

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype) -> None:
        self._weights = model.weights(dtype)

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> None:
        return None

    def refuses(self, rule: Rule) -> None:
        return None

    @torch.inference_mode()
    def encode(self, sources: Sequence[Sequence[int]]) -> Context:
        return encode(self._weights, sources)

    @torch.inference_mode()
    def run(self, context: Context, rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        batch = Batch(self._weights, context, rules, max_new_tokens)
        for step in range(max_new_tokens):
            batch.step(step)
            if batch.is_done:
                break
        return batch.result
