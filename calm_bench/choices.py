"""Every choice by name that an option or a function takes, said once. Nothing is imported here that takes time."""

from typing import Literal

AnswerName = Literal[
    "promises", "classifier_training", "decay", "exit_simulation", "oracle", "perturbation", "speed", "state_copying"
]
BaselineName = Literal["static", "oracle", "speculative"]
CalibrationMethod = Literal["ltt", "ucb", "crc", "naive", "ltt-hoeffding", "ltt-wsr", "ltt-bonferroni"]
CalibrationUnit = Literal["example", "cluster"]
ClassifierObjective = Literal["independent", "geometric"]
DecayForm = Literal["additive", "multiplicative", "none"]
DecodingDtype = Literal["float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
LossWeights = Literal["index", "uniform", "last"]
Optimizer = Literal["adafactor", "adamw"]
Schedule = Literal["constant", "linear", "cosine"]
StateCopying = Literal["exit_state", "first_state", "projected_kv", "true_state"]
StoredDtype = Literal["float32", "float16", "bfloat16"]
TimingExecutor = Literal["auto", "native", "grid", "cuda"]
TrackingMode = Literal["auto", "online", "offline", "disabled"]
