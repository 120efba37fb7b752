"""Stage 3: score each text against its references and against the full model's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calm_bench.calibration import risk_loss, textual_loss
from calm_bench.decoding.rule import Rule
from calm_bench.metrics.metric import Metric
from calm_bench.tasks.task import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """R rules on E examples.

    Attributes:
        frame: the generations table, examples outermost, rules as in `rules`.
        textual, risk: losses in [0, 1], (R, E).
        statistics: the quality metric's sufficient statistics, (R, E, k).
        tokens: generated tokens, (R, E).
        layers: sum of exit layers, (R, E).
        flops, flops_elbayad: of the decoder, (R, E).
    """

    rules: Sequence[Rule]
    quality: Metric
    frame: pd.DataFrame
    textual: Floats
    risk: Floats
    statistics: Floats
    tokens: Floats
    layers: Floats
    flops: Floats
    flops_elbayad: Floats

    def rows_of(self, measure: str) -> list[int]:
        """Indices of a measure's rules, thresholds descending."""
        return [index for index, rule in enumerate(self.rules) if rule.name == measure]

    @property
    def full(self) -> int:
        """Index of the full model."""
        return self.rows_of("full")[0]

    @property
    def measures(self) -> list[str]:
        """The confidence measures among the rules, in their order."""
        return list(dict.fromkeys(rule.name for rule in self.rules if rule.measure is not None))


def score(generations: pd.DataFrame, rules: Sequence[Rule], task: Task) -> Scores:
    """Add score, textual_loss and risk_loss to the generations, and lay everything out by rule and example."""
    by_rule = (-1, len(rules))
    predictions = generations["prediction"].to_numpy().reshape(by_rule)
    references = [tuple(texts) for texts in generations["reference"]]
    full = next(index for index, rule in enumerate(rules) if rule.name == "full")
    full_texts = [(text,) for text in np.repeat(predictions[:, full], len(rules))]
    flat = predictions.ravel().tolist()

    similarity = task.similarity.scores(flat, references).reshape(by_rule).T
    textual = textual_loss(task.similarity.scores(flat, full_texts)).reshape(by_rule).T
    risk = risk_loss(similarity, similarity[full])
    statistics = task.quality.statistics(flat, references).reshape(*predictions.shape, -1).swapaxes(0, 1)

    frame = generations.assign(score=similarity.T.ravel(), textual_loss=textual.T.ravel(), risk_loss=risk.T.ravel())

    def column(name: str) -> Floats:
        return frame[name].to_numpy(np.float64).reshape(by_rule).T

    tokens = column("n_tokens")
    return Scores(
        rules=rules,
        quality=task.quality,
        frame=frame,
        textual=textual,
        risk=risk,
        statistics=statistics,
        tokens=tokens,
        layers=column("mean_exit_layer") * tokens,
        flops=column("flops"),
        flops_elbayad=column("flops_elbayad"),
    )
