"""Confidence measures: one file each."""

from calm_bench.measures.classifier import Classifier
from calm_bench.measures.measure import Measure, Visit
from calm_bench.measures.softmax import Softmax
from calm_bench.measures.state import State

__all__ = ["Classifier", "Measure", "Softmax", "State", "Visit"]
