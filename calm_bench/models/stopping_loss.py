"""The losses of the MLP classifier: agreement first, then what stopping costs at every threshold.

A network trained to say whether a layer agrees with the full model (cross-entropy) orders the tokens of one layer. One
threshold serves all layers, though, and whether to stop also depends on what the layers above would bring. So the
network goes on to be trained as the stopping rule that it will be. It stops after layer i with probability
s_i = sigmoid((z_i - theta) / T), at latest at L, so p_i = s_i (1 - s_1) ... (1 - s_{i-1}). A threshold of log-odds
theta stands for a price of exp(-theta) a layer, and each token has its own:

    cost = sum_i p_i [layer i's token is not the full model's] + exp(-theta) * sum_i i p_i

Costs are multiplied by exp(theta / 2), so that those at high thresholds, which are small, count; and the cross-entropy
is added with a small weight, which keeps the confidences of layers where nothing stops.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LOWEST, HIGHEST = -1.5, 7.0  # theta: confidences from 0.18 to 0.999
TEMPERATURE = 0.5
CROSS_ENTROPY = 0.2
GOLDEN = 0.618034  # its multiples lie evenly in [0, 1), so that a validation loss is no matter of chance

StoppingLoss = Callable[[Tensor, Tensor], Tensor]
"""`agreement_loss` or `stopping_loss`."""


def agreement_loss(log_odds: Tensor, agrees: Tensor) -> Tensor:
    """Mean binary cross-entropy of whether each exit's token is the full model's; arguments as in `stopping_loss`."""
    return functional.binary_cross_entropy_with_logits(log_odds, agrees.float())


def stopping_loss(log_odds: Tensor, agrees: Tensor) -> Tensor:
    """Mean cost of M tokens.

    Args:
        log_odds: z of the exits 1..L-1, (L - 1, M).
        agrees: whether each exit's token is the full model's, (L - 1, M) bool.
    """
    spread = torch.arange(log_odds.shape[1], device=log_odds.device) * GOLDEN % 1
    theta = LOWEST + (HIGHEST - LOWEST) * spread
    stop = torch.sigmoid((log_odds - theta) / TEMPERATURE)
    stays = functional.logsigmoid((theta - log_odds) / TEMPERATURE).cumsum(0).exp()  # beyond each exit
    reaches = torch.cat([torch.ones_like(stays[:1]), stays])  # layer 1..L
    error = (reaches[:-1] * stop * ~agrees).sum(0)
    layers = reaches.sum(0)
    cost = error * (theta / 2).exp() + layers * (-theta / 2).exp()
    return cost.mean() + CROSS_ENTROPY * agreement_loss(log_odds, agrees)
