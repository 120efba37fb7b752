"""Confidence measures: one file each."""

from calm_bench.measures.classifier import Classifier
from calm_bench.measures.entropy import Entropy
from calm_bench.measures.kl_divergence import KlDivergence
from calm_bench.measures.max_prob import MaxProb
from calm_bench.measures.measure import Measure, Visit
from calm_bench.measures.mlp_classifier import MlpClassifier
from calm_bench.measures.patience import Patience
from calm_bench.measures.softmax import Softmax
from calm_bench.measures.softmax_topk import SoftmaxTopk
from calm_bench.measures.state import State
from calm_bench.measures.state_step import StateStep

__all__ = [
    "Classifier",
    "Entropy",
    "KlDivergence",
    "MaxProb",
    "Measure",
    "MlpClassifier",
    "Patience",
    "Softmax",
    "SoftmaxTopk",
    "State",
    "StateStep",
    "Visit",
]
