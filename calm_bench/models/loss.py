"""The losses of the two training stages (CALM, sections 3.4 and 3.5)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.t5 import head_scale

LossWeights = Literal["index", "uniform", "last"]
IGNORED = -100  # label of padding, as transformers' collators write it


def layer_weights(kind: LossWeights, depth: int) -> Tensor:
    """Weight of each layer's loss, (L,), summing to 1. `index` is the paper's w_i = i / sum_j j (Eq. 6)."""
    weights = {
        "index": torch.arange(1.0, depth + 1),
        "uniform": torch.ones(depth),
        "last": torch.eye(depth)[-1],
    }[kind]
    return weights / weights.sum()


def layer_losses(t5: nn.Module, outputs: Any, labels: Tensor) -> Tensor:
    """Mean token cross-entropy of each layer's prediction under teacher forcing, (L,).

    Args:
        t5: the `T5ForConditionalGeneration` that gave `outputs`.
        outputs: its outputs, with hidden states.
        labels: target token ids, (batch, T), `IGNORED` on padding.
    """
    targets = labels != IGNORED
    logits = [layer_logits(t5, state[targets]) for state in _early_states(outputs)] + [outputs.logits[targets]]
    return torch.stack([functional.cross_entropy(layer.float(), labels[targets]) for layer in logits])


def layer_logits(t5: Any, states: Tensor) -> Tensor:
    """Logits (M, V) of raw states (M, d) of an early layer, dropout included while training, as at the last layer."""
    normed = t5.decoder.dropout(t5.decoder.final_layer_norm(states))
    return t5.lm_head(normed * head_scale(t5.config))


def exit_classifier_losses(classifier: ExitClassifier, t5: nn.Module, outputs: Any, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the exit classifier at each of the layers 1..L-1, (L - 1,).

    A layer's label is 1 where its prediction is the last layer's: the independent objective of appendix D, unbalanced.
    """
    targets = labels != IGNORED
    final = outputs.logits[targets].argmax(-1)
    return torch.stack(
        [
            functional.binary_cross_entropy_with_logits(
                classifier.logits(state[targets]), (layer_logits(t5, state[targets]).argmax(-1) == final).float()
            )
            for state in _early_states(outputs)
        ]
    )


def _early_states(outputs: Any) -> tuple[Tensor, ...]:
    """Raw states of layers 1..L-1, (batch, T, d) each. transformers gives the embedding first, and the last normed."""
    states: tuple[Tensor, ...] = outputs.decoder_hidden_states
    return states[1:-1]
