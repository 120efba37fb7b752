"""What a frozen model computes along texts, kept: its backbone runs once over them, however many steps follow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from calm_bench.models.mlp_classifier import normed
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.pairs import Pairs
from calm_bench.models.stopping_loss import Predictions
from calm_bench.progress import Progress

GIB = 1 << 30


class FrozenStates(Dataset[dict[str, Tensor]]):
    """Tokens of the full model's own texts, and of each what an exit can see: normed states, and what layers predict.

    They are kept in float16 on the CPU. Where a limit in GiB leaves no room for all tokens, the kept ones lie evenly
    among them, so that all texts give some.

    Attributes:
        states: after the layers 0..L-1, over their root mean square, (M, L, d).
        agrees, leads: `Predictions` of the exits 1..L-1, (M, L - 1).
        of: how many tokens there were; M of them are kept.
    """

    def __init__(self, model: EarlyExitModel, pairs: Pairs, gigabytes: float, title: str) -> None:
        """`pairs` have the full model's own texts as labels. With a title it is shown how far along it is."""
        both = [pairs[index] for index in range(len(pairs))]
        both.sort(key=lambda pair: len(pair["input_ids"]) + len(pair["labels"]))  # little padding
        texts = [pair["labels"] for pair in both]
        ends = [0, *accumulate(map(len, texts))]
        self.of = ends[-1]
        exits, width = model.depth - 1, model.width
        token_bytes = 2 * (exits + 1) * width + 3 * exits
        kept = evenly(self.of, min(self.of, int(gigabytes * GIB / token_bytes)))
        count = int(kept.sum())
        self.states = torch.empty(count, exits + 1, width, dtype=torch.float16)
        self.agrees = torch.empty(count, exits, dtype=torch.bool)
        self.leads = torch.empty(count, exits, dtype=torch.float16)
        done = 0
        with torch.inference_mode(), Progress(len(texts), title, "text", shown=bool(title)) as progress:
            for batch in model.forced([pair["input_ids"] for pair in both], texts):
                first, last = batch.examples[0], batch.examples[-1]
                chosen = batch.there.clone()
                chosen[batch.there] = kept[ends[first] : ends[last + 1]].to(chosen.device)
                states = [state[chosen] for state in batch.states]
                seen = Predictions.of((model.head(state) for state in states[1:]), batch.tokens[chosen])
                here = slice(done, done := done + len(states[0]))
                self.states[here] = normed(torch.stack(states, dim=1))
                self.agrees[here], self.leads[here] = seen.agrees.T, seen.leads.T
                progress.update(len(batch.examples))

    def __len__(self) -> int:
        return len(self.states)

    def __getitems__(self, tokens: Sequence[int]) -> dict[str, Tensor]:
        """A batch of these tokens, as `LearnsWhereToStop` takes it."""
        chosen = torch.as_tensor(tokens)
        return {"states": self.states[chosen], "agrees": self.agrees[chosen], "leads": self.leads[chosen]}


def evenly(count: int, kept: int) -> Tensor:
    """Which of `count` items to keep, (count,) bool, so that `kept` of them are and lie evenly."""
    before = np.arange(count + 1, dtype=np.int64) * kept // max(count, 1)
    return torch.from_numpy(before[1:] > before[:-1])
