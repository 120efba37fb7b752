"""Stage 3: score each text against its references and against the full model's text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from calm_bench import processes
from calm_bench.calibration import Outcomes, cluster_numbers, risk_loss, textual_loss
from calm_bench.progress import Progress
from calm_bench.records import losses, schema
from calm_bench.records.stage_cache import Chunks, StageCache

if TYPE_CHECKING:  # later promises read scores without torch, which these would import
    from calm_bench.metrics.metric import Metric
    from calm_bench.stages.decode import Decoded
    from calm_bench.tasks.task import Task

Floats = NDArray[np.float64]
Statistics = dict[int, Floats]
"""A metric's sufficient statistics, (E, k), by the number of the rule whose texts they are of."""


@dataclass(frozen=True)
class Scored:
    """All texts with their scores, chunk by chunk as they were decoded."""

    decoded: Decoded
    scores: Chunks

    def generations(self) -> Iterator[pa.Table]:
        """The table of that name, a chunk at a time."""
        for texts, scores in zip(self.decoded.chunks.each("generations"), self.scores.each("losses"), strict=True):
            values = dict(zip(texts.column_names + scores.column_names, texts.columns + scores.columns, strict=True))
            yield schema.to_table("generations", pa.table(values))

    @cached_property
    def examples(self) -> pd.DataFrame:
        """The table of that name."""
        chunks = self.decoded.chunks
        return schema.to_frame(schema.EXAMPLES, pa.concat_tables(chunks.each("examples")), chunks.folder)

    @cached_property
    def columns(self) -> dict[str, Floats]:
        """The numeric columns of generations that `losses.outcomes_of` needs, and flops; each (R, E)."""
        names = [*losses.COLUMNS, "flops"]
        return losses.by_rule(self.generations(), names, len(self.decoded.rules), len(self.examples))

    def outcomes(self) -> Outcomes:
        """What the rules did on the examples."""
        clusters = cluster_numbers(self.examples["cluster"].tolist())
        return losses.outcomes_of(self.decoded.rules, self.columns, clusters)

    def quality(self) -> Statistics:
        """The quality metric's statistics of every rule."""
        rows = np.concatenate([part.to_pandas().to_numpy(np.float64) for part in self.scores.each("quality")])
        return {rule: rows[rule :: len(self.decoded.rules)] for rule in range(len(self.decoded.rules))}


def score(texts: pd.DataFrame, references: Sequence[Sequence[str]], full: int, task: Task) -> pd.DataFrame:
    """score, textual_loss and risk_loss of each text, in [0, 1], from the task's similarity.

    texts: rows with the columns example, rule and prediction. references: of each row. full: the full model's rule.
    """
    predictions = texts["prediction"].tolist()
    of_full = texts[texts["rule"] == full].set_index("example")
    full_texts = [(text,) for text in texts["example"].map(of_full["prediction"])]
    scores = pd.Series(task.similarity.scores(predictions, references), texts.index)
    full_scores = texts["example"].map(scores[texts["rule"] == full].set_axis(of_full.index))
    return pd.DataFrame(
        {
            "score": scores,
            "textual_loss": textual_loss(task.similarity.scores(predictions, full_texts)),
            "risk_loss": risk_loss(scores, full_scores),
        }
    )


def score_all(decoded: Decoded, task: Task, cache: StageCache) -> Scored:
    """Score all texts, or take from the cache how they were scored before.

    Several processes score a chunk each in turn; what every one of them returns is what all have scored.
    """
    metrics = {"quality": task.quality, "similarity": task.similarity}
    described = {name: [type(metric).__qualname__, metric.description] for name, metric in metrics.items()}
    full = int(decoded.rules.loc[decoded.rules["kind"] == "full", "rule"].iloc[0])
    mine = processes.share(decoded.chunks.count)
    with (
        cache.hold_together("score", {"texts": decoded.identity, **described}) as folder,
        Progress(len(mine), processes.label("score"), "chunk", shown=processes.is_first(), stage="score") as bar,
    ):
        chunks = Chunks(folder, decoded.chunks.count)
        for number in mine:
            if not chunks.done(number):
                texts = decoded.chunks.read(number, "generations").select(["example", "rule", "prediction"]).to_pandas()
                examples = decoded.chunks.read(number, "examples")
                answers = dict(zip(examples["example"].to_pylist(), examples["references"].to_pylist(), strict=True))
                references = [tuple(answers[example]) for example in texts["example"]]
                statistics = task.quality.statistics(texts["prediction"].tolist(), references)
                quality = pd.DataFrame(statistics).rename(columns=str)
                chunks.write(number, {"losses": score(texts, references, full, task), "quality": quality})
            bar.update()
    return Scored(decoded, chunks)


def statistics(
    metric: Metric, texts: Iterable[pa.Table | pa.RecordBatch], rules: Collection[int], examples: pd.DataFrame
) -> Statistics:
    """A metric's statistics of these rules, each of which has a text for each example.

    texts: rows with the columns example, rule and prediction. examples: the table of that name.
    """
    wanted = pa.array(sorted(rules), pa.int32())
    kept = [part.filter(pc.is_in(part["rule"], wanted)).select(["example", "rule", "prediction"]) for part in texts]
    frame = pd.concat([part.to_pandas() for part in kept]).sort_values(["rule", "example"])
    references = [tuple(answers) for answers in examples.sort_values("example")["references"]]
    return {
        int(rule): metric.statistics(rows["prediction"].tolist(), references) for rule, rows in frame.groupby("rule")
    }
