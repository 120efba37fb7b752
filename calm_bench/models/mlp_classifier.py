"""A small network for each exit that says whether the full model would write the same token there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from calm_bench.models.checkpoint import read_tensors, tensors_in

FILE_NAME = "mlp_classifier.safetensors"
EPSILON = 1e-6  # of the root mean square, as in T5


class MlpClassifier(nn.Module):
    """sigmoid(z_i) after the layers i = 1..L-1, z_i = v_i . gelu(W_i [n(d_t^i); n(d_t^{i-1})] + b_i) + c_i.

    n(x) = x / rms(x), without a gain: what the next layer's queries and the head read. gelu is T5's, in its tanh form.
    """

    def __init__(self, width: int, depth: int, hidden: int) -> None:
        """For states of d = width and L = depth, with so many hidden units a layer."""
        super().__init__()
        self.hidden = LinearPerExit(depth - 1, 2 * width, hidden)
        self.output = LinearPerExit(depth - 1, hidden, 1)

    @property
    def units(self) -> int:
        """Hidden units a layer."""
        return self.hidden.bias.shape[1]

    def forward(self, layer: int, state: Tensor, previous: Tensor) -> Tensor:
        """Confidences (n,) in (0, 1) at a layer (1..L-1), of the states (n, d) after it and before it."""
        hidden = functional.gelu(self.hidden.at(layer, _inputs(state, previous)), approximate="tanh")
        return self.output.at(layer, hidden).squeeze(-1).sigmoid()

    def log_odds(self, states: Sequence[Tensor]) -> Tensor:
        """z of all exits, (L - 1, M), of the states before layer 1 and after the layers 1..L-1, L times (M, d)."""
        inputs = torch.stack([_inputs(state, previous) for previous, state in pairwise(states)])
        return self.output(functional.gelu(self.hidden(inputs), approximate="tanh")).squeeze(-1)

    def save(self, folder: Path) -> None:
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / FILE_NAME)

    @classmethod
    def load(cls, folder: Path, width: int, depth: int) -> MlpClassifier | None:
        """As `models.model.Learned` says."""
        path = folder / FILE_NAME
        if not path.exists():
            return None
        hidden = (tensors_in(path).get("hidden.bias") or (1,))[-1]
        module = cls(width, depth, hidden)
        module.load_state_dict(read_tensors(path, {name: value.shape for name, value in module.state_dict().items()}))
        return module


class LinearPerExit(nn.Module):
    """A linear layer for each exit: weight (L - 1, outputs, inputs), bias (L - 1, outputs)."""

    def __init__(self, exits: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(exits, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(exits, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """All exits: (L - 1, M, inputs) -> (L - 1, M, outputs)."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)

    def at(self, layer: int, x: Tensor) -> Tensor:
        """The exit after a layer (1..L-1): (n, inputs) -> (n, outputs)."""
        return functional.linear(x, self.weight[layer - 1], self.bias[layer - 1])


def normed(state: Tensor) -> Tensor:
    """x / rms(x), (..., d)."""
    return torch.rms_norm(state, state.shape[-1:], eps=EPSILON)


def _inputs(state: Tensor, previous: Tensor) -> Tensor:
    return normed(torch.stack([state, previous], dim=-2)).flatten(-2)
