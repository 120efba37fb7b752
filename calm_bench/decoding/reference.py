"""The meaning of early-exit decoding: slow, plain, one example, one rule, each layer in the modules of transformers.

Every faster path must give these tokens and these exit layers. Each step runs all layers, sees where the rule leaves,
and then forgets what it should not have computed: state copying (CALM, section 3.3.1) is literal here. A past position
gives a layer that was skipped the keys and values which `state_copying.source` names: in the paper, the layer's own
projections of the exit layer's state. Nothing is cached: every past key and value is projected again.

A speculative rule (`Rule.speculative`) writes what the full model does. As all layers run anyway, a draft is what its
layer would write here, and it is kept if that is the token, unless as many drafts in a row have been kept as are made.
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
from calm_bench.models.model import EarlyExitModel


@dataclass(frozen=True)
class Token:
    """One decoding step: the token, the layer it left at, and the measure's confidence there (None if not asked)."""

    token_id: int
    exit_layer: int
    confidence: float | None


@torch.inference_mode()
def decode_reference(model: EarlyExitModel, source_ids: Sequence[int], rule: Rule, max_new_tokens: int) -> list[Token]:
    """Greedy decoding of one source under one rule (CALM, Eq. 4), at most `max_new_tokens` tokens."""
    context = model.read(source_ids)
    # pasts[k - 1][s]: what gives layer k its keys and values at position s, a layer and the state that it projects
    pasts: list[list[tuple[int, Tensor]]] = [[] for _ in range(model.depth)]
    tokens: list[Token] = []
    previous_token = model.tokens.start
    kept = 0  # drafts since the full model's last token, for a speculative rule

    for step in range(max_new_tokens):
        states = [model.embed(previous_token)]
        for layer, past in enumerate(pasts, 1):
            past.append((layer, states[-1]))
            states.append(model.run_layer(layer, states[-1], past, context))
        exit_layer, confidence, token = leave(model, rule, states, step, max_new_tokens)
        for layer in range(exit_layer + 1, len(states)):
            projecting_layer, projected = source(rule.state_copying, layer, exit_layer)
            pasts[layer - 1][step] = projecting_layer, states[projected]
        previous_token = int(model.head(states[exit_layer][0]).argmax()) if token is None else token
        if rule.drafts:
            draft = int(model.head(states[rule.min_layer][0]).argmax())
            kept = kept + 1 if kept < rule.drafts and draft == previous_token else 0
            exit_layer = rule.min_layer if kept else exit_layer
        tokens.append(Token(previous_token, exit_layer, confidence))
        if previous_token in model.tokens.ends:
            break
    return tokens


def leave(
    model: EarlyExitModel, rule: Rule, states: list[Tensor], step: int, max_new_tokens: int
) -> tuple[int, float | None, int | None]:
    """The layer at which a step leaves, how confident the measure was, and the token if it is the measure's own choice.

    states[i] is d^i, (1, 1, d).
    """
    last = rule.last_layer or len(states) - 1
    if rule.is_oracle:
        return earliest_agreeing_layer(model, states), None, None
    if rule.measure is None:
        return last, None, None
    asking = Asking(model.head, model.learned)
    for layer in range(1, last):
        passed = LayerPass(layer, np.zeros(1, np.int64), states[layer][0], states[layer - 1][0], step)
        asking.show(rule.measure, passed)
        if layer >= rule.min_layer:
            answer = asking.ask(rule.measure, passed)
            if (confidence := answer.confidence.item()) >= rule.threshold_at(step, max_new_tokens):
                own = int(rule.measure.token(answer.visit)) if rule.measure.own_token else None
                return layer, confidence, own
    return last, None, None


def earliest_agreeing_layer(model: EarlyExitModel, states: list[Tensor]) -> int:
    """The first layer whose token is the last layer's token; states[i] is d^i, (1, 1, d)."""
    tokens = [int(model.head(state[0]).argmax()) for state in states]
    return next(layer for layer in range(1, len(states)) if tokens[layer] == tokens[-1])
