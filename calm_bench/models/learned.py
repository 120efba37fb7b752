"""The learned measures' weights that lie beside a checkpoint, by the names that measures know them under."""

from __future__ import annotations

from pathlib import Path

from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.mlp_classifier import MlpClassifier
from calm_bench.models.model import EarlyExitModel, Learned

LEARNED: dict[str, type[Learned]] = {"classifier": ExitClassifier, "mlp_classifier": MlpClassifier}


def load_learned(model: EarlyExitModel, folder: Path) -> None:
    """Give the model all learned weights that lie in its checkpoint's folder."""
    for name, kind in LEARNED.items():
        module = kind.load(folder, model.width, model.depth)
        if module is not None:
            model.learned[name] = module.to(model.device).eval()
