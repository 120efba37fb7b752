"""Questions that the paper asks of a model beside its rules, one file each; every answer is a table of the record."""

from calm_bench.probes.classifier_f1 import ClassifierF1
from calm_bench.probes.perturbation import Perturbation
from calm_bench.probes.probe import Probe
from calm_bench.probes.reliability import Reliability
from calm_bench.probes.subject import Subject

__all__ = ["ClassifierF1", "Perturbation", "Probe", "Reliability", "Subject"]
