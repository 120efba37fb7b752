"""What does one wrong token do to the rest of a text (CALM, section 3.3.2 and Fig. 2a)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from calm_bench import bootstrap
from calm_bench.probes.probe import Probe
from calm_bench.probes.subject import Subject
from calm_bench.records.schema import column

RANK = 10  # the paper's sampled perturbation takes the tenth-ranked token of the last layer


COLUMNS = pa.schema(
    [
        column("kind", pa.string()),  # sampled: the last layer's tenth-ranked token; layer: the first layer's
        column("step", pa.int32()),  # where it stands, from 0
        column("n", pa.int32()),  # texts longer than that
        column("changed", pa.float64()),  # share of them in which the token is not the full model's
        column("score", pa.float64()),  # similarity to the references with the wrong token, in [0, 1]
        column("score_low", pa.float64()),
        column("score_high", pa.float64()),
        column("score_full", pa.float64()),  # the same texts without it
        column("score_full_low", pa.float64()),
        column("score_full_high", pa.float64()),
        column("similarity", pa.float64()),  # to the full model's text, in [0, 1]
        column("similarity_low", pa.float64()),
        column("similarity_high", pa.float64()),
    ]
)
"""One row per kind of wrong token and step. Intervals are 95%, bootstrap over examples."""


@dataclass(frozen=True)
class Perturbation(Probe):
    """One wrong token at a step, the rest by the full model: a row for each kind and step (0, 1, 2, 4, ... from 0).

    kind is "sampled" (the last layer's tenth-ranked token) or "layer" (the first layer's prediction). n counts the
    texts that are longer than the step, changed is the share of them in which the token differs from the full model's.
    score and score_full are their mean similarity to the references with and without the wrong token, similarity that
    to the full model's text; all in [0, 1], with 95% bootstrap intervals over texts.
    """

    name: ClassVar[str] = "perturbation"
    columns: ClassVar[pa.Schema] = COLUMNS
    reads_similarity: ClassVar[bool] = True

    @torch.inference_mode()
    def answer(self, subject: Subject) -> pd.DataFrame:
        """The rows of the table."""
        model, task, texts = subject.model, subject.task, subject.texts
        limit = task.max_new_tokens
        steps = [0, *(2**power for power in range(limit.bit_length()) if 2**power < limit)]
        found: dict[tuple[str, int], list[tuple[int, bool, list[int]]]] = {}
        for batch in subject.counted(model.forced(subject.sources, texts), self.name):
            first_layer = model.head(batch.states[1]) if model.depth > 1 else batch.logits
            wrong = {"sampled": batch.logits.topk(RANK, dim=-1).indices[..., -1], "layer": first_layer.argmax(-1)}
            for kind, tokens in wrong.items():
                for step in steps:
                    longer = [row for row, e in enumerate(batch.examples) if len(texts[e]) > step]
                    if longer:
                        names = [batch.examples[row] for row in longer]
                        beginnings = torch.cat([batch.tokens[longer, :step], tokens[longer, step : step + 1]], dim=1)
                        written = model.continued([subject.sources[e] for e in names], beginnings.tolist(), limit)
                        changed = (tokens[longer, step] != batch.tokens[longer, step]).tolist()
                        found.setdefault((kind, step), []).extend(zip(names, changed, written, strict=True))

        def read_back(token_ids: Sequence[Sequence[int]], indices: Sequence[int]) -> list[str]:
            pairs = zip(model.detokenize(token_ids), indices, strict=True)
            return [task.as_written(text, subject.examples[index]) for text, index in pairs]

        references = [example.references for example in subject.examples]
        full_texts = read_back(texts, range(len(texts)))
        full_scores = task.similarity.scores(full_texts, references)
        rows = []
        for (kind, step), results in found.items():
            indices = [index for index, _, _ in results]
            predictions = read_back([written for _, _, written in results], indices)
            values = {
                "score": task.similarity.scores(predictions, [references[index] for index in indices]),
                "score_full": full_scores[indices],
                "similarity": task.similarity.scores(predictions, [(full_texts[index],) for index in indices]),
            }
            row = {
                "kind": kind,
                "step": step,
                "n": len(results),
                "changed": np.mean([changed for _, changed, _ in results]),
            }
            for name, of_text in values.items():
                value, low, high = bootstrap.ratio(of_text, np.ones(len(results)), seed=subject.seed)
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return pd.DataFrame(rows)
