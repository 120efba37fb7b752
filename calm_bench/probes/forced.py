"""Finished texts read under teacher forcing, by the forward pass of transformers: every layer's state in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_bench.models.t5 import EarlyExitT5

BATCH = 32


@dataclass(frozen=True)
class Forced:
    """A batch of B texts of at most T tokens.

    Attributes:
        examples: which of the texts these are, B indices.
        encoder, mask: the encoder's outputs, and 1 on those of their positions that are tokens.
        tokens: what was forced, (B, T), padding after it.
        there: where `tokens` are tokens, (B, T) bool.
        states: raw states before layer 1 and after the layers 1..L-1, so that states[i] is d^i: L times (B, T, d).
        logits: of the last layer, (B, T, V).
    """

    examples: list[int]
    encoder: Any
    mask: Tensor
    tokens: Tensor
    there: Tensor
    states: Sequence[Tensor]
    logits: Tensor

    @property
    def text(self) -> Tensor:
        """Of each of the M tokens (there, row by row), the index of its text, (M,)."""
        rows = torch.tensor(self.examples, device=self.there.device)
        return rows[:, None].expand_as(self.there)[self.there]


@torch.inference_mode()
def read(
    model: EarlyExitT5, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], batch: int = BATCH
) -> Iterator[Forced]:
    """Read each text (token ids) behind its source, in batches of their order."""
    t5 = model.backbone
    for start in range(0, len(sources), batch):
        examples = list(range(start, min(start + batch, len(sources))))
        ids, mask = _padded(model, [sources[e] for e in examples])
        tokens, there = _padded(model, [texts[e] for e in examples])
        before = tokens.roll(1, dims=1)
        before[:, 0] = t5.config.decoder_start_token_id
        encoder = t5.encoder(input_ids=ids, attention_mask=mask.long())
        outputs = t5(
            encoder_outputs=encoder,
            attention_mask=mask.long(),
            decoder_input_ids=before,
            output_hidden_states=True,
            use_cache=False,
        )
        yield Forced(examples, encoder, mask.long(), tokens, there, outputs.decoder_hidden_states[:-1], outputs.logits)


def _padded(model: EarlyExitT5, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of token ids as (B, T), padding behind them, and where they are tokens, (B, T) bool."""
    parts = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = pad_sequence(parts, batch_first=True, padding_value=model.backbone.config.pad_token_id)
    there = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    return ids.to(model.device), there.to(model.device)
