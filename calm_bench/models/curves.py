"""What a training has logged, as tables: losses by step, and what each layer had learnt at each evaluation."""

from __future__ import annotations

from typing import Any

import pandas as pd

History = list[dict[str, Any]]
"""What Trainer has logged, oldest first; a training that went on from a checkpoint has the part before it, too."""


def losses(stage: str, history: History) -> pd.DataFrame:
    """A row for each step that logged anything: stage, step, loss, learning_rate, validation_loss (or NaN).

    loss is the mean over the steps since the row before, dropout and all; validation_loss is the same loss, without
    dropout, on the validation pairs.
    """
    names = {"loss": "loss", "learning_rate": "learning_rate", "eval_loss": "validation_loss"}
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        if values := {column: entry[name] for name, column in names.items() if name in entry}:
            rows.setdefault(entry["step"], {"stage": stage, "step": entry["step"]}).update(values)
    return pd.DataFrame(list(rows.values()), columns=["stage", "step", *names.values()])


def by_layer(history: History, depth: int) -> pd.DataFrame:
    """A row for each evaluation and layer: step, score (the full model's), layer (1..L), loss and agreement.

    loss is the mean token cross-entropy under teacher forcing, agreement the share of the layer's tokens that are the
    last layer's.
    """
    rows = [
        {
            "step": entry["step"],
            "score": entry["eval_score"],
            "layer": layer,
            "loss": entry[f"eval_loss_layer_{layer}"],
            "agreement": entry[f"eval_agreement_layer_{layer}"],
        }
        for entry in history
        if "eval_score" in entry
        for layer in range(1, depth + 1)
    ]
    return pd.DataFrame(rows, columns=["step", "score", "layer", "loss", "agreement"])
