"""Questions that the paper asks of a model beside its rules: what one wrong token does, what the classifier sees.

Both read the model under teacher forcing, through the forward pass of transformers; neither depends on a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from calm_bench.decoding.loop import decode
from calm_bench.decoding.rule import Rule
from calm_bench.errors import InputError
from calm_bench.models.t5 import EarlyExitT5
from calm_bench.tasks.task import Example, Task

BATCH = 32
RANK = 10  # the paper's sampled perturbation takes the tenth-ranked token of the last layer


@dataclass(frozen=True)
class Forced:
    """A batch read under teacher forcing.

    Attributes:
        examples: indices of the batch's examples, (B,).
        encoder, mask: the encoder's outputs and which of their positions are tokens.
        tokens: what was forced, (B, T), padding after it.
        states: the raw states of layers 1..L-1, (B, T, d) each.
        logits: of the last layer, (B, T, V).
    """

    examples: list[int]
    encoder: Any
    mask: Tensor
    tokens: Tensor
    states: Sequence[Tensor]
    logits: Tensor


@torch.inference_mode()
def perturbation(model: EarlyExitT5, task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """One wrong token at a step, the rest by the full model (CALM, Fig. 2a).

    Returns a row for each kind ("sampled": the last layer's tenth-ranked token; "layer": the first layer's prediction)
    and step (0, 1, 2, 4, ... from 0): n, the texts that are longer than the step; changed, the share of them in which
    the token differs from the full model's; score and score_full, their mean similarity to the references with and
    without the wrong token; similarity, that to the full model's text.
    """
    limit = task.max_new_tokens
    sources = model.tokenize([example.source for example in examples], task.max_source_tokens)
    full = decode(model, sources, [Rule.full()], limit)
    texts = [row[:n].tolist() for row, n in zip(full.token_ids[:, 0], full.n_tokens[:, 0], strict=True)]
    steps = [0, *(2**power for power in range(limit.bit_length()) if 2**power < limit)]
    found: dict[tuple[str, int], list[tuple[int, bool, list[int]]]] = {}
    for batch in _forced(model, sources, texts):
        wrong = {
            "sampled": batch.logits.topk(RANK, dim=-1).indices[..., -1],
            "layer": (model.head(batch.states[0]) if batch.states else batch.logits).argmax(-1),
        }
        for kind, tokens in wrong.items():
            for step in steps:
                longer = [row for row, e in enumerate(batch.examples) if len(texts[e]) > step]
                if longer:
                    written = _go_on(model, batch, longer, tokens, step, limit)
                    changed = (tokens[longer, step] != batch.tokens[longer, step]).tolist()
                    names = [batch.examples[row] for row in longer]
                    found.setdefault((kind, step), []).extend(zip(names, changed, written, strict=True))

    references = [example.references for example in examples]
    full_texts = model.detokenize(texts)
    full_scores = task.similarity.scores(full_texts, references)
    rows = []
    for (kind, step), results in found.items():
        indices = [index for index, _, _ in results]
        predictions = model.detokenize([written for _, _, written in results])
        scores = task.similarity.scores(predictions, [references[index] for index in indices])
        alike = task.similarity.scores(predictions, [(full_texts[index],) for index in indices])
        changed_share = float(np.mean([changed for _, changed, _ in results]))
        rows.append(
            {
                "kind": kind,
                "step": step,
                "n": len(results),
                "changed": changed_share,
                "score": float(scores.mean()),
                "score_full": float(full_scores[indices].mean()),
                "similarity": float(alike.mean()),
            }
        )
    return rows


@torch.inference_mode()
def classifier_f1(model: EarlyExitT5, task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """How well the exit classifier says "do not exit" (CALM, Table D.1), on the examples' targets.

    Returns a row for each of the layers 1..L-1: layer, n (tokens), disagree (share of tokens at which the layer's
    prediction is not the last layer's) and f1 of that class, in [0, 1], for confidences below 0.5.
    """
    if model.classifier is None:
        raise InputError(
            "probes=classifier_f1: the model has no exit classifier; train one (training.classifier_steps)"
        )
    sources = model.tokenize([example.source for example in examples], task.max_source_tokens)
    targets = model.tokenize([example.target for example in examples], task.max_new_tokens)
    counts = torch.zeros(model.depth - 1, 4)  # tokens, both say stay, the label says stay, the classifier says stay
    for batch in _forced(model, sources, targets):
        lengths = torch.tensor([len(targets[e]) for e in batch.examples], device=model.device)
        there = torch.arange(batch.tokens.shape[1], device=model.device) < lengths[:, None]
        final = batch.logits[there].argmax(-1)
        for layer, states in enumerate(batch.states):
            wrong = model.head(states[there]).argmax(-1) != final
            stays = model.classifier(states[there]) < 0.5
            counts[layer] += torch.tensor([len(wrong), (wrong & stays).sum(), wrong.sum(), stays.sum()])
    return [
        {"layer": layer, "n": int(n), "disagree": wrong / n, "f1": 2 * both / max(wrong + stays, 1)}
        for layer, (n, both, wrong, stays) in enumerate(counts.tolist(), 1)
    ]


PROBES: dict[str, Callable[[EarlyExitT5, Task, Sequence[Example]], list[dict[str, Any]]]] = {
    "perturbation": perturbation,
    "classifier_f1": classifier_f1,
}


def _forced(model: EarlyExitT5, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Iterator[Forced]:
    """Read each text under teacher forcing, in batches."""
    t5 = model.backbone
    for start in range(0, len(sources), BATCH):
        examples = list(range(start, min(start + BATCH, len(sources))))
        ids, mask = _padded(model, [sources[e] for e in examples])
        tokens, _ = _padded(model, [texts[e] for e in examples])
        encoder = t5.encoder(input_ids=ids, attention_mask=mask)
        outputs = t5(
            encoder_outputs=encoder,
            attention_mask=mask,
            decoder_input_ids=_shifted(model, tokens),
            output_hidden_states=True,
        )
        yield Forced(examples, encoder, mask, tokens, outputs.decoder_hidden_states[1:-1], outputs.logits)


def _go_on(model: EarlyExitT5, batch: Forced, rows: list[int], wrong: Tensor, step: int, limit: int) -> list[list[int]]:
    """Texts of the full model that begin as forced, have the wrong token at `step`, and go on greedily."""
    t5 = model.backbone
    written = torch.cat([batch.tokens[rows, :step], wrong[rows, step : step + 1]], dim=1)
    encoder = type(batch.encoder)(last_hidden_state=batch.encoder.last_hidden_state[rows])
    cache = EncoderDecoderCache(DynamicCache(config=t5.decoder.config), DynamicCache(config=t5.decoder.config))
    read = torch.cat([torch.full_like(written[:, :1], t5.config.decoder_start_token_id), written], dim=1)
    ended = written[:, -1] == t5.config.eos_token_id
    while written.shape[1] < limit and not ended.all():
        outputs = t5(
            encoder_outputs=encoder, attention_mask=batch.mask[rows], decoder_input_ids=read, past_key_values=cache
        )
        read = outputs.logits[:, -1:].argmax(-1).masked_fill(ended[:, None], t5.config.pad_token_id)
        written = torch.cat([written, read], dim=1)
        ended |= read[:, 0] == t5.config.eos_token_id
    return written.tolist()


def _padded(model: EarlyExitT5, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    pad = model.backbone.config.pad_token_id
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    return ids, mask


def _shifted(model: EarlyExitT5, tokens: Tensor) -> Tensor:
    start = torch.full_like(tokens[:, :1], model.backbone.config.decoder_start_token_id)
    return torch.cat([start, tokens[:, :-1]], dim=1)
