"""What does one wrong token do to the rest of a text (CALM, section 3.3.2 and Fig. 2a)?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from calm_bench import bootstrap
from calm_bench.probes.subject import Subject

RANK = 10  # the paper's sampled perturbation takes the tenth-ranked token of the last layer


@torch.inference_mode()
def perturbation(subject: Subject) -> pd.DataFrame:
    """One wrong token at a step, the rest by the full model: a row for each kind and step (0, 1, 2, 4, ... from 0).

    kind is "sampled" (the last layer's tenth-ranked token) or "layer" (the first layer's prediction). n counts the
    texts that are longer than the step, changed is the share of them in which the token differs from the full model's.
    score and score_full are their mean similarity to the references with and without the wrong token, similarity that
    to the full model's text; all in [0, 1], with 95% bootstrap intervals over texts.
    """
    model, task, texts = subject.model, subject.task, subject.texts
    limit = task.max_new_tokens
    steps = [0, *(2**power for power in range(limit.bit_length()) if 2**power < limit)]
    found: dict[tuple[str, int], list[tuple[int, bool, list[int]]]] = {}
    for batch in model.forced(subject.sources, texts):
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
