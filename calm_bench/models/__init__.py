"""T5 in and out: loading, the exit classifier, and the two training stages."""

from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.t5 import EarlyExitT5, from_scratch, load

__all__ = ["EarlyExitT5", "ExitClassifier", "from_scratch", "load"]
