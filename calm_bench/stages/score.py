"""Stage 3: score each text against its references and against the full model's text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from calm_bench import processes
from calm_bench.calibration import risk_loss, textual_loss
from calm_bench.errors import InputError
from calm_bench.records.stages import Chunks, StageCache

if TYPE_CHECKING:  # `calm_bench.certify` reads scores without torch, which these would import
    from calm_bench.metrics.metric import Metric
    from calm_bench.stages.generate import Decoded
    from calm_bench.tasks.task import Task

Floats = NDArray[np.float64]
BASELINES = ("full", "oracle", "static")
LOSSES = ["score", "textual_loss", "risk_loss"]
PART = 128  # examples scored between two writes


def score(generations: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The generations with score, textual_loss and risk_loss, each in [0, 1], from the task's similarity."""
    predictions, references = generations["prediction"].tolist(), [tuple(texts) for texts in generations["reference"]]
    full = generations[generations["measure"] == "full"].set_index("example_id")
    full_texts = [(text,) for text in generations["example_id"].map(full["prediction"])]

    scores = pd.Series(task.similarity.scores(predictions, references), generations.index)
    full_scores = generations["example_id"].map(scores[generations["measure"] == "full"].set_axis(full.index))
    return generations.assign(
        score=scores,
        textual_loss=textual_loss(task.similarity.scores(predictions, full_texts)),
        risk_loss=risk_loss(scores, full_scores),
    )


def score_all(decoded: Decoded, task: Task, cache: StageCache) -> tuple[pd.DataFrame, Floats]:
    """Score all texts, or take from the cache how they were scored before; several processes score a part each in turn.

    Returns:
        The generations as `score` gives them.
        The quality metric's sufficient statistics of each row, (rows, k).
    """
    generations = decoded.generations
    metrics = {"quality": task.quality, "similarity": task.similarity}
    said = {name: [type(metric).__qualname__, metric.description] for name, metric in metrics.items()}
    # Rows of one example stand together, as many as there are rules.
    step = PART * max(1, len(generations) // max(1, generations["example_id"].nunique()))
    parts = [generations.iloc[start : start + step] for start in range(0, len(generations), step)]
    mine = processes.share(len(parts))
    total = sum(len(parts[number]) for number in mine)
    with (
        cache.hold_together("score", {"texts": decoded.identity, **said}) as folder,
        tqdm(total=total, desc=processes.label("score"), unit="text", disable=not processes.is_first()) as bar,
    ):
        chunks = Chunks(folder)
        for number in mine:
            part = parts[number]
            if not chunks.done(number):
                references = [tuple(texts) for texts in part["reference"]]
                statistics = task.quality.statistics(part["prediction"].tolist(), references)
                frames = {"losses": score(part, task)[LOSSES], "quality": pd.DataFrame(statistics).rename(columns=str)}
                chunks.write(number, frames)
            bar.update(len(part))
    frames = chunks.read_all()
    return generations.assign(**frames["losses"]), frames["quality"].to_numpy(np.float64)


class Label(NamedTuple):
    """A rule as the records name it: threshold None for the full model and the oracle, the layer for static."""

    measure: str
    threshold: float | None


@dataclass(frozen=True)
class Scores:
    """Scored generations laid out as R rules on E examples: all that a frontier and a certificate are made from.

    Attributes:
        rules: in the table's order; thresholds of a measure descend.
        quality: the metric that tables report.
        textual, risk: losses in [0, 1], (R, E).
        tokens: generated tokens, (R, E).
        layers: sum of exit layers, (R, E).
        flops, flops_elbayad: of the decoder, (R, E).
        predictions: texts, (R, E). references: the accepted texts of each example, E.
    """

    rules: list[Label]
    quality: Metric
    textual: Floats
    risk: Floats
    tokens: Floats
    layers: Floats
    flops: Floats
    flops_elbayad: Floats
    predictions: NDArray[np.object_]
    references: list[tuple[str, ...]]
    _statistics: dict[int, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, generations: pd.DataFrame, quality: Metric, statistics: Floats | None = None) -> Scores:
        """Lay out a scored generations table, examples outermost, as runs record it.

        statistics: the quality metric's sufficient statistics of each row, (rows, k), where they are known.

        Raises InputError where the full model is missing, or an example lacks a rule.
        """
        labels = generations[["measure", "threshold"]]
        rules = [
            Label(str(measure), None if pd.isna(threshold) else float(threshold))
            for measure, threshold in labels.drop_duplicates().itertuples(index=False)
        ]
        by_rule = (-1, len(rules))
        order = labels.groupby(["measure", "threshold"], dropna=False, sort=False).ngroup().to_numpy()
        if len(order) % len(rules) or (order.reshape(by_rule) != np.arange(len(rules))).any():
            raise InputError("generations: every example must stand under every rule once, in one order of the rules")
        if Label("full", None) not in rules:
            raise InputError("generations: the full model's texts are missing")

        def column(name: str) -> Floats:
            return generations[name].to_numpy(np.float64).reshape(by_rule).T

        tokens = column("n_tokens")
        return cls(
            rules=rules,
            quality=quality,
            textual=column("textual_loss"),
            risk=column("risk_loss"),
            tokens=tokens,
            layers=column("mean_exit_layer") * tokens,
            flops=column("flops"),
            flops_elbayad=column("flops_elbayad"),
            predictions=generations["prediction"].to_numpy(np.object_).reshape(by_rule).T,
            references=[tuple(texts) for texts in generations["reference"].iloc[:: len(rules)]],
            _statistics={} if statistics is None else {r: statistics[r :: len(rules)] for r in range(len(rules))},
        )

    def rows_of(self, measure: str) -> list[int]:
        """Indices of a measure's rules, thresholds descending."""
        return [index for index, rule in enumerate(self.rules) if rule.measure == measure]

    @property
    def full(self) -> int:
        """Index of the full model."""
        return self.rules.index(Label("full", None))

    @property
    def measures(self) -> list[str]:
        """The confidence measures among the rules, in their order."""
        return list(dict.fromkeys(rule.measure for rule in self.rules if rule.measure not in BASELINES))

    def statistics(self, rules: Iterable[int]) -> Mapping[int, Floats]:
        """The quality metric's sufficient statistics (E, k) of these rules (and of those asked for before).

        A summary takes milliseconds to score and a grid has many, so a rule is scored when it is first asked for.
        """
        if missing := [rule for rule in dict.fromkeys(rules) if rule not in self._statistics]:
            texts = self.predictions[missing].ravel().tolist()
            table = self.quality.statistics(texts, self.references * len(missing))
            self._statistics.update(zip(missing, table.reshape(len(missing), len(self.references), -1), strict=True))
        return self._statistics
