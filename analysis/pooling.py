"""The runs of one setup under several seeds as one: means, and how surely the seeds say them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.load import Records
from analysis.spread import of_mean


def over_seeds(frame: pd.DataFrame, keys: Sequence[str], *, of: Sequence[str]) -> pd.DataFrame:
    """One row for each `keys`: the mean over its rows of the numbers in `of`, in *_low and *_high Student's interval.

    What else the frame says is that of the first of these rows. Where there is one row a key, it stays as it is.
    """
    if not frame.duplicated(list(keys)).any():
        return frame
    by_key = frame.groupby(list(keys), dropna=False, sort=False)
    pooled = by_key.first()
    for name in of:
        pooled[name] = by_key[name].mean()
        if f"{name}_low" in pooled:
            ends = [of_mean(values.to_numpy(np.float64)) for _, values in by_key[name]]
            pooled[[f"{name}_low", f"{name}_high"]] = np.array(ends)
    return pooled.reset_index()[list(frame.columns)]


def frontier(part: Records) -> pd.DataFrame:
    """A group's frontier, one row a measure and threshold, whatever the number of its seeds."""
    numbers = ["score", "mean_exit_layer", "flops_reduction", "flops_reduction_t5", "seconds", "speedup"]
    numbers += ["textual_loss", "risk_loss"]
    return over_seeds(part.frontier, ["measure", "threshold"], of=numbers)


def bands(part: Records) -> str:
    """What the intervals of a pooled frame are, in words."""
    return "95% intervals over texts" if len(part.draws) < 2 else f"95% t-interval over {len(part.draws)} seeds"
