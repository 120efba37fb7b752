"""How well does the exit classifier say "do not exit" (CALM, appendix D and Table D.1)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from calm_bench import bootstrap
from calm_bench.errors import InputError
from calm_bench.probes.probe import Probe
from calm_bench.probes.subject import Subject
from calm_bench.records.schema import column

CUT = 0.5


COLUMNS = pa.schema(
    [
        column("layer", pa.int16()),  # 1..L-1
        column("n", pa.int32()),  # examples
        column("n_tokens", pa.int32()),  # of their targets
        column("disagree", pa.float64()),  # share of tokens at which the layer's prediction is not the last layer's
        column("f1", pa.float64(), null=True),  # of "do not exit" at a cut of 0.5; null where no token is of that class
        column("f1_low", pa.float64(), null=True),
        column("f1_high", pa.float64(), null=True),
    ]
)
"""One row per layer below L. Intervals are 95%, bootstrap over examples."""


@dataclass(frozen=True)
class ClassifierF1(Probe):
    """F1 of "do not exit" at the cut of 0.5, under teacher forcing on the examples' targets; a row for each layer < L.

    Columns: layer; n, examples; n_tokens; disagree, the share of tokens at which the layer's prediction is not the last
    layer's; f1 of that class in [0, 1], null where no token is or is said to be of it, with its 95% bootstrap interval
    over examples.
    """

    name: ClassVar[str] = "classifier_f1"
    columns: ClassVar[pa.Schema] = COLUMNS

    @torch.inference_mode()
    def answer(self, subject: Subject) -> pd.DataFrame:
        """The rows of the table. Raises InputError where the model has no exit classifier."""
        model, examples = subject.model, subject.examples
        classifier = model.learned.get("classifier")
        if classifier is None:
            raise InputError(
                "probes=classifier_f1: the model has no exit classifier; train one (training.classifier_steps)"
            )
        targets = model.tokenize([example.target for example in examples], subject.task.max_new_tokens)
        tokens = np.array([len(target) for target in targets], dtype=np.float64)
        # Of each layer and example: hits; false alarms + misses + 2 hits; tokens that disagree.
        both, either, wrong = np.zeros((3, model.depth - 1, len(examples)))
        for batch in subject.counted(model.forced(subject.sources, targets), self.name):
            text, final = batch.text.cpu().numpy(), batch.logits[batch.there].argmax(-1)
            for layer, states in enumerate(batch.states[1:]):
                disagrees = model.head(states[batch.there]).argmax(-1) != final
                stays = classifier(states[batch.there]) < CUT
                np.add.at(both[layer], text, (disagrees & stays).cpu().numpy())
                np.add.at(either[layer], text, (disagrees.int() + stays.int()).cpu().numpy())
                np.add.at(wrong[layer], text, disagrees.cpu().numpy())
        f1, low, high = bootstrap.ratio(2 * both, either, seed=subject.seed)
        return pd.DataFrame(
            {
                "layer": np.arange(1, model.depth),
                "n": len(examples),
                "n_tokens": int(tokens.sum()),
                "disagree": wrong.sum(-1) / tokens.sum(),
                "f1": f1,
                "f1_low": low,
                "f1_high": high,
            }
        )
