"""The meaning of early-exit decoding: slow, plain, one example, one rule, the modules of transformers.

Every faster path must give these tokens and these exit layers. Each step runs all layers, sees where the rule leaves,
and then forgets what it should not have computed: state copying (CALM, section 3.3.1) is literal here. A past position
gives a layer that was skipped the keys and values which `state_copying.source` names: in the paper, the layer's own
projections of the exit layer's state. Nothing is cached: every past key and value is projected again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calm_bench.decoding.rule import Rule
from calm_bench.decoding.state_copying import source
from calm_bench.measures.asking import Asking, LayerPass
from calm_bench.models.t5 import EarlyExitT5


@dataclass(frozen=True)
class Token:
    """One decoding step: the token, the layer it left at, and the measure's confidence there (None if not asked)."""

    token_id: int
    exit_layer: int
    confidence: float | None


@torch.inference_mode()
def decode_reference(model: EarlyExitT5, source_ids: Sequence[int], rule: Rule, max_new_tokens: int) -> list[Token]:
    """Greedy decoding of one source under one rule (CALM, Eq. 4), at most `max_new_tokens` tokens."""
    t5 = model.backbone
    encoded = t5.encoder(input_ids=torch.tensor([list(source_ids)], device=model.device)).last_hidden_state
    # pasts[k - 1][s]: what gives layer k its keys and values at position s, a layer and the state that it projects
    pasts: list[list[tuple[int, Tensor]]] = [[] for _ in t5.decoder.block]
    tokens: list[Token] = []
    previous_token = model.tokens.start

    for step in range(max_new_tokens):
        states = [t5.decoder.embed_tokens(torch.tensor([[previous_token]], device=model.device))]
        for layer, past in enumerate(pasts, 1):
            past.append((layer, states[-1]))
            states.append(run_layer(model, layer, states[-1], past, encoded))
        exit_layer, confidence = leave(model, rule, states, step, max_new_tokens)
        for layer in range(exit_layer + 1, len(states)):
            projecting_layer, projected = source(rule.state_copying, layer, exit_layer)
            pasts[layer - 1][step] = projecting_layer, states[projected]
        previous_token = int(model.head(states[exit_layer][0]).argmax())
        tokens.append(Token(previous_token, exit_layer, confidence))
        if previous_token in model.tokens.ends:
            break
    return tokens


def leave(
    model: EarlyExitT5, rule: Rule, states: list[Tensor], step: int, max_new_tokens: int
) -> tuple[int, float | None]:
    """The layer at which a step leaves, and how confident the measure was; states[i] is d^i, (1, 1, d)."""
    last = rule.last_layer or len(states) - 1
    if rule.is_oracle:
        return earliest_agreeing_layer(model, states), None
    if rule.measure is None:
        return last, None
    asking = Asking(model.head, model.learned)
    for layer in range(1, last):
        passed = LayerPass(layer, np.zeros(1, np.int64), states[layer][0], states[layer - 1][0], step)
        asking.show(rule.measure, passed)
        if layer >= rule.min_layer:
            confidence = asking.ask(rule.measure, passed).confidence.item()
            if confidence >= rule.threshold_at(step, max_new_tokens):
                return layer, confidence
    return last, None


def run_layer(model: EarlyExitT5, layer: int, state: Tensor, past: list[tuple[int, Tensor]], encoded: Tensor) -> Tensor:
    """State after `layer` (1..L) at the newest position, (1, 1, d), from the state before it and what it attends to."""
    attention, cross_attention, feed_forward = model.backbone.decoder.block[layer - 1].layer
    query = split_heads(model, attention.SelfAttention.q(attention.layer_norm(state)))
    key, value = (torch.cat(part, dim=2) for part in zip(*(project(model, *source) for source in past), strict=True))
    first = model.backbone.decoder.block[0].layer[0].SelfAttention
    bias = first.compute_bias(len(past), len(past))[:, :, -1:]
    weights = (query @ key.transpose(-1, -2) + bias).softmax(-1)  # T5 does not scale by the square root of d_kv
    mixed = (weights @ value).transpose(1, 2).reshape(1, 1, -1)
    state = state + attention.SelfAttention.o(mixed)
    state = cross_attention(state, key_value_states=encoded)[0]
    return feed_forward(state)


def project(model: EarlyExitT5, layer: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """Key and value, (1, H, 1, d_kv) each, that a layer (1..L) projects from a state (1, 1, d)."""
    attention = model.backbone.decoder.block[layer - 1].layer[0]
    normed = attention.layer_norm(state)
    return split_heads(model, attention.SelfAttention.k(normed)), split_heads(model, attention.SelfAttention.v(normed))


def split_heads(model: EarlyExitT5, projected: Tensor) -> Tensor:
    """(1, t, H d_kv) as (1, H, t, d_kv)."""
    config = model.backbone.config
    return projected.view(1, -1, config.num_heads, config.d_kv).transpose(1, 2)


def earliest_agreeing_layer(model: EarlyExitT5, states: list[Tensor]) -> int:
    """The first layer whose token is the last layer's token; states[i] is d^i, (1, 1, d)."""
    tokens = [int(model.head(state[0]).argmax()) for state in states]
    return next(layer for layer in range(1, len(states)) if tokens[layer] == tokens[-1])
