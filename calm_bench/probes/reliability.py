"""Does a higher confidence mean that the early prediction is more often the full model's?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from calm_bench import bootstrap
from calm_bench.measures.asking import Asking, LayerPass
from calm_bench.probes.probe import Probe
from calm_bench.probes.subject import Subject
from calm_bench.records.schema import column

BINS = 10


COLUMNS = pa.schema(
    [
        column("measure", pa.string()),  # a confidence measure
        column("layer", pa.int16()),  # 1..L-1
        column("bin", pa.int16()),  # from 0, confidences rising; bins of a layer are of nearly equal size
        column("n_tokens", pa.int32()),  # of the full model's texts
        column("confidence", pa.float64()),  # mean of the bin
        column("agreement", pa.float64()),  # share of the bin's tokens that are the full model's
        column("agreement_low", pa.float64()),
        column("agreement_high", pa.float64()),
    ]
)
"""One row per measure, layer below L and bin of confidences. Intervals are 95%, bootstrap over examples."""


@dataclass(frozen=True)
class Reliability(Probe):
    """Confidence against agreement with the full model, for each measure and layer below L, on the full model's texts.

    The tokens of a layer are sorted by confidence into at most 10 bins of (nearly) equal size, because cosines lie
    close to 1; equal confidences share a bin. Columns: measure; layer; bin, from 0, confidences rising; n_tokens;
    confidence, the bin's mean; agreement, the share of its tokens at which the layer predicts the full model's token,
    with its 95% bootstrap interval over texts.
    """

    name: ClassVar[str] = "reliability"
    columns: ClassVar[pa.Schema] = COLUMNS

    @torch.inference_mode()
    def answer(self, subject: Subject) -> pd.DataFrame:
        """The rows of the table."""
        model = subject.model
        seen: dict[tuple[str, int], list[np.ndarray]] = {}
        text: list[np.ndarray] = []
        agrees: dict[int, list[np.ndarray]] = {}
        for batch in subject.counted(model.forced(subject.sources, subject.texts), self.name):
            text.append(batch.text.cpu().numpy())
            final = batch.logits[batch.there].argmax(-1)
            states = [state[batch.there] for state in batch.states]
            asking = Asking(model.head, model.learned)
            for layer in range(1, model.depth):
                passed = LayerPass(layer, np.arange(len(final)), states[layer], states[layer - 1])
                agrees.setdefault(layer, []).append((model.head(states[layer]).argmax(-1) == final).cpu().numpy())
                for measure in subject.measures:
                    asking.show(measure, passed)
                    if layer >= measure.first_layer:
                        confidence = asking.ask(measure, passed).confidence.astype(np.float64)
                        seen.setdefault((measure.name, layer), []).append(confidence)
        tables = [
            _binned(np.concatenate(values), np.concatenate(agrees[layer]), np.concatenate(text), subject).assign(
                measure=measure, layer=layer
            )
            for (measure, layer), values in seen.items()
        ]
        columns = ["measure", "layer", "bin", "n_tokens", "confidence", "agreement", "agreement_low", "agreement_high"]
        return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _binned(confidence: np.ndarray, agrees: np.ndarray, text: np.ndarray, subject: Subject) -> pd.DataFrame:
    """One row per bin of M tokens: confidences (M,), whether they agree (M,), and the text of each (M,)."""
    edges = np.unique(np.quantile(confidence, np.arange(1, BINS) / BINS))
    bins = np.searchsorted(edges, confidence, side="right")
    bins = np.unique(bins, return_inverse=True)[1]  # bins without a token do not count
    shape = bins.max() + 1, len(subject.examples)
    tokens, right = np.zeros((2, *shape))
    np.add.at(tokens, (bins, text), 1)
    np.add.at(right, (bins, text), agrees)
    agreement, low, high = bootstrap.ratio(right, tokens, seed=subject.seed)
    n_tokens = tokens.sum(-1)
    return pd.DataFrame(
        {
            "bin": np.arange(shape[0]),
            "n_tokens": n_tokens.astype(int),
            "confidence": np.bincount(bins, confidence) / n_tokens,
            "agreement": agreement,
            "agreement_low": low,
            "agreement_high": high,
        }
    )
