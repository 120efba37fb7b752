"""The runs of one setup under several seeds as one: means, and how far the seeds spread."""

from collections.abc import Sequence

import pandas as pd

from analysis.load import Records

TAIL = 0.025


def over_seeds(frame: pd.DataFrame, keys: Sequence[str], *, of: Sequence[str]) -> pd.DataFrame:
    """One row for each `keys`: the mean over its rows of the numbers in `of`, and in *_low and *_high their 95% range.

    What else the frame says is that of the first of these rows. Where there is one row a key, it stays as it is.
    """
    if not frame.duplicated(list(keys)).any():
        return frame
    by_key = frame.groupby(list(keys), dropna=False, sort=False)
    pooled = by_key.first()
    for name in of:
        pooled[name] = by_key[name].mean()
        for end, share in (("_low", TAIL), ("_high", 1 - TAIL)):
            if name + end in pooled:
                pooled[name + end] = by_key[name].quantile(share)
    return pooled.reset_index()[list(frame.columns)]


def frontier(part: Records) -> pd.DataFrame:
    """A group's frontier, one row a measure and threshold, whatever the number of its seeds."""
    numbers = ["score", "mean_exit_layer", "flops_reduction", "flops_reduction_t5", "seconds", "speedup"]
    numbers += ["textual_loss", "risk_loss"]
    return over_seeds(part.frontier, ["measure", "threshold"], of=numbers)


def bands(part: Records) -> str:
    """What the intervals of a pooled frame are, in words."""
    return "95% intervals over texts" if len(part.draws) < 2 else f"95% of {len(part.draws)} seeds"
