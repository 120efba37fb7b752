"""Questions that the paper asks of a model beside its rules, one file each; every answer is a table of the record."""

from collections.abc import Callable

import pandas as pd

from calm_bench.probes.classifier_f1 import classifier_f1
from calm_bench.probes.perturbation import perturbation
from calm_bench.probes.reliability import reliability
from calm_bench.probes.subject import Subject

PROBES: dict[str, Callable[[Subject], pd.DataFrame]] = {
    "reliability": reliability,
    "perturbation": perturbation,
    "classifier_f1": classifier_f1,
}
SCORED = ("perturbation",)  # whose answer depends on the task's similarity

__all__ = ["PROBES", "SCORED", "Subject", "classifier_f1", "perturbation", "reliability"]
