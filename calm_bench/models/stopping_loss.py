"""The losses of the MLP classifier: what each layer predicts first, then what stopping costs at every threshold.

A network trained to say whether a layer agrees with the full model, and how far its token leads (cross-entropy with
either as the label), orders the tokens of one layer. One threshold serves all layers, though, and whether to stop also
depends on what the layers above would bring. So the network goes on to be trained as the stopping rule that it will be.
It stops after layer i with probability s_i = sigmoid((z_i - theta) / T), at latest at L, so
p_i = s_i (1 - s_1) ... (1 - s_{i-1}). A threshold of log-odds theta stands for a price of exp(-theta) a layer, and each
token has its own:

    cost = sum_i p_i [layer i's token is not the full model's] + exp(-theta) * sum_i i p_i

Costs are multiplied by exp(theta / 2), so that those at high thresholds, which are small, count; and the cross-entropy
of agreement is added with a small weight, which keeps the confidences of layers where nothing stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LOWEST, HIGHEST = -1.5, 7.0  # theta: confidences from 0.18 to 0.999
TEMPERATURE = 0.5
CROSS_ENTROPY = 0.2
GOLDEN = 0.618034  # its multiples lie evenly in [0, 1), so that a validation loss is no matter of chance


@dataclass(frozen=True)
class Predictions:
    """What the exits 1..L-1 predict of M tokens: whether the full model's token, (L - 1, M) bool; and p1 - p2."""

    agrees: Tensor
    leads: Tensor

    @classmethod
    def of(cls, logits: Iterable[Tensor], tokens: Tensor) -> Predictions:
        """From L - 1 times logits (M, V), and the full model's tokens (M,)."""
        best = [layer.softmax(-1).topk(2) for layer in logits]
        agrees = torch.stack([layer.indices[:, 0] == tokens for layer in best])
        return cls(agrees, torch.stack([layer.values[:, 0] - layer.values[:, 1] for layer in best]))


StoppingLoss = Callable[[Tensor, Predictions], Tensor]
"""`prediction_loss` or `stopping_loss`, of z of the exits 1..L-1, (L - 1, M), and their predictions."""


def prediction_loss(log_odds: Tensor, seen: Predictions) -> Tensor:
    """Mean of two binary cross-entropies: of agreement, and of the lead as a probability."""
    return _cross_entropy(log_odds, (seen.agrees + seen.leads) / 2)


def stopping_loss(log_odds: Tensor, seen: Predictions) -> Tensor:
    """Mean cost of M tokens."""
    spread = torch.arange(log_odds.shape[1], device=log_odds.device) * GOLDEN % 1
    theta = LOWEST + (HIGHEST - LOWEST) * spread
    stop = torch.sigmoid((log_odds - theta) / TEMPERATURE)
    stays = functional.logsigmoid((theta - log_odds) / TEMPERATURE).cumsum(0).exp()  # beyond each exit
    reaches = torch.cat([torch.ones_like(stays[:1]), stays])  # layer 1..L
    error = (reaches[:-1] * stop * ~seen.agrees).sum(0)
    layers = reaches.sum(0)
    cost = error * (theta / 2).exp() + layers * (-theta / 2).exp()
    return cost.mean() + CROSS_ENTROPY * _cross_entropy(log_odds, seen.agrees.float())


def _cross_entropy(log_odds: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(log_odds, labels)
