"""The early-exit classifier: one linear layer and a sigmoid, shared by all layers (CALM, section 3.5)."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from calm_bench.models.checkpoint import read_tensors

FILE_NAME = "exit_classifier.safetensors"


class ExitClassifier(nn.Module):
    """M(d_t^i) = sigmoid(w . d_t^i + b): d + 1 parameters, on the raw state before the final norm."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, 1)

    def forward(self, states: Tensor) -> Tensor:
        """Confidences (n,) in [0, 1] of states (n, d)."""
        return torch.addmv(self.linear.bias, states, self.linear.weight[0]).sigmoid()

    def logits(self, states: Tensor) -> Tensor:
        """Log-odds (...,) of states (..., d): what training wants."""
        return self.linear(states).squeeze(-1)

    def save(self, folder: Path) -> None:
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / FILE_NAME)

    @classmethod
    def load(cls, folder: Path, width: int, depth: int) -> ExitClassifier | None:
        """As `models.learned.Learned` says; the layers share it, so the depth does not matter."""
        path = folder / FILE_NAME
        if not path.exists():
            return None
        classifier = cls(width)
        shapes = {name: value.shape for name, value in classifier.state_dict().items()}
        classifier.load_state_dict(read_tensors(path, shapes))
        return classifier
