"""The losses of the two training stages (CALM, sections 3.4 and 3.5)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from calm_bench.choices import ClassifierObjective, LossWeights
from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.t5_weights import head_scale

IGNORED = -100  # label of padding, as transformers' collators write it


def layer_weights(kind: LossWeights, depth: int) -> Tensor:
    """Weight of each layer's loss, (L,), summing to 1. `index` is the paper's w_i = i / sum_j j (Eq. 6)."""
    weights = {
        "index": torch.arange(1.0, depth + 1),
        "uniform": torch.ones(depth),
        "last": torch.eye(depth)[-1],
    }[kind]
    return weights / weights.sum()


def layer_losses(
    t5: nn.Module, outputs: Any, labels: Tensor, exit_layers: Tensor | None = None, *, padding_too: bool = False
) -> Tensor:
    """Mean token cross-entropy of each layer's prediction under teacher forcing, (L,).

    A layer's logits are made once more for its gradients instead of being kept: L times a vocabulary is the most that a
    training of a small model would hold.

    Args:
        t5: the `T5ForConditionalGeneration` that gave `outputs`.
        outputs: its outputs, with hidden states.
        labels: target token ids, (batch, T), `IGNORED` on padding.
        exit_layers: the layer at which each position left, (batch, T): above it, it does not count. None: all count.
        padding_too: compute logits for padding, too, which do not count; then the device is not asked where it is.
    """
    there = torch.arange(labels.numel(), device=labels.device) if padding_too else _target_positions(labels)
    targets = labels.flatten()[there]
    counted = targets != IGNORED
    exits = None if exit_layers is None else exit_layers.flatten()[there]
    losses = []
    for layer in range(1, _depth(outputs) + 1):
        each = _token_losses(t5, outputs, layer, there, targets)
        here = counted if exits is None else counted & (exits >= layer)
        losses.append((each * here).sum() / here.sum().clamp(min=1))
    return torch.stack(losses)


def layer_agreement(t5: nn.Module, outputs: Any, labels: Tensor) -> Tensor:
    """Share of the target positions at which each layer predicts the last layer's token, (L,); 1 for the last."""
    there, layers = _target_positions(labels), range(1, _depth(outputs) + 1)
    tokens = torch.stack([_logits(t5, outputs, layer, there).argmax(-1) for layer in layers])
    return (tokens == tokens[-1]).float().mean(-1)


def layer_logits(t5: Any, states: Tensor) -> Tensor:
    """Logits (M, V) of raw states (M, d) of an early layer, dropout included while training, as at the last layer."""
    return _head(t5, _before_head(t5, states))


def exit_classifier_losses(
    classifier: ExitClassifier,
    t5: nn.Module,
    outputs: Any,
    labels: Tensor,
    objective: ClassifierObjective = "independent",
    balanced: bool = False,
) -> Tensor:
    """Loss of the exit classifier at each of the layers 1..L-1, (L - 1,), to be averaged over layers.

    A layer's label is 1 where its prediction is the last layer's. `independent` (appendix D) is the mean binary
    cross-entropy of each layer. `geometric` (after Elbayad et al. 2020) is the log-likelihood of a chain that stops at
    the first layer with label 1, so the layers above that one do not count.

    `balanced` weighs each label by the other's share among a layer's positions, as the paper's released code does.
    """
    targets = labels != IGNORED
    states = [state[targets] for state in _early_states(outputs)]
    final = outputs.logits[targets].argmax(-1)
    agrees = torch.stack([layer_logits(t5, state).argmax(-1) == final for state in states]).float()
    scores = torch.stack([classifier.logits(state) for state in states])
    weights = torch.ones_like(agrees)
    if objective == "geometric":
        weights = (agrees.cumsum(0) - agrees == 0).float()
    if balanced:
        positive = (agrees * weights).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp(min=1)
        weights = weights * torch.where(agrees > 0, 1 - positive, positive)
    losses = functional.binary_cross_entropy_with_logits(scores, agrees, weight=weights, reduction="none")
    return losses.mean(-1)


def _token_losses(t5: nn.Module, outputs: Any, layer: int, there: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (M,) of a layer's prediction at the M positions `there`, 0 where the target is `IGNORED`."""
    if layer == _depth(outputs):
        made, states = _cross_entropy, outputs.logits.flatten(0, 1)[there]
    else:
        made = partial(_cross_entropy_of_states, t5)
        states = _before_head(t5, _early_states(outputs)[layer - 1].flatten(0, 1)[there])
    losses: Tensor = checkpoint(made, states, targets, use_reentrant=False, preserve_rng_state=False)
    return losses


def _cross_entropy_of_states(t5: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    return _cross_entropy(_head(t5, states), targets)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none", ignore_index=IGNORED)


def _before_head(t5: Any, states: Tensor) -> Tensor:
    """Raw states as the head takes them; all that training leaves to chance is in here."""
    ready: Tensor = t5.decoder.dropout(t5.decoder.final_layer_norm(states))
    return ready


def _head(t5: Any, states: Tensor) -> Tensor:
    logits: Tensor = t5.lm_head(states * head_scale(t5.config))
    return logits


def _target_positions(labels: Tensor) -> Tensor:
    """Numbers (M,) of the M positions among batch x T that are no padding; a mask would be counted at each use."""
    return (labels != IGNORED).flatten().nonzero().squeeze(-1)


def _depth(outputs: Any) -> int:
    return len(outputs.decoder_hidden_states) - 1


def _logits(t5: nn.Module, outputs: Any, layer: int, there: Tensor) -> Tensor:
    """Logits (M, V) of a layer (1..L) at the M positions whose numbers among batch x T are `there`."""
    if layer == _depth(outputs):
        return outputs.logits.flatten(0, 1)[there]
    return layer_logits(t5, _early_states(outputs)[layer - 1].flatten(0, 1)[there])


def _early_states(outputs: Any) -> tuple[Tensor, ...]:
    """Raw states of layers 1..L-1, (batch, T, d) each. transformers gives the embedding first, and the last normed."""
    states: tuple[Tensor, ...] = outputs.decoder_hidden_states
    return states[1:-1]
