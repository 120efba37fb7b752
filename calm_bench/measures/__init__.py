"""Confidence measures: one file each."""

from calm_bench.measures.classifier import Classifier
from calm_bench.measures.entropy import Entropy
from calm_bench.measures.max_prob import MaxProb
from calm_bench.measures.measure import Measure, Visit
from calm_bench.measures.softmax import Softmax
from calm_bench.measures.softmax_topk import SoftmaxTopk
from calm_bench.measures.state import State

__all__ = ["Classifier", "Entropy", "MaxProb", "Measure", "Softmax", "SoftmaxTopk", "State", "Visit"]
