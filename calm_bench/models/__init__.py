"""Models in and out: loading, learned measures' weights, and the two training stages. `model.py` is the seam."""

from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.loading import load
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.t5 import EarlyExitT5, from_scratch

__all__ = ["EarlyExitModel", "EarlyExitT5", "ExitClassifier", "from_scratch", "load"]
