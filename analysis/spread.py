"""How far the trials of a promise spread: over random splits, over training seeds, or over both, and which of them."""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from calm_bench.calibration.checks import FloatArray
from calm_bench.errors import InputError

Over = Literal["splits", "seeds", "both"]
PROMISE = ["name", "task", "model", "objective", "delta", "epsilon", "method", "measure"]
VALUES = ["test_loss", "test_score", "mean_exit_layer", "flops_reduction"]
LEVEL = 0.95


def spread(certificates: pd.DataFrame, runs: pd.DataFrame, over: Over) -> pd.DataFrame:
    """Means of what the trials of each promise measured on held-out examples, with how far they spread.

    certificates, runs: frames of `analysis.load`, of runs that differ in nothing but their training seed (and measure).
    over: "splits": one row for each seed, with the middle of its splits. "both": with the middle of the splits of all
    seeds. "seeds": with an interval of the mean over seeds, each the mean of its splits.

    Columns: name, task, model, objective, delta, epsilon, method, measure; seed (only over splits); seeds and splits
    (how many); test_loss, test_score, mean_exit_layer, flops_reduction and broken (share of splits whose test loss
    exceeded delta), each with _low and _high; and interval, which says in words what these are. Over seeds they are
    Student's 95% interval, NaN for one seed. Else they are the 2.5% and 97.5% quantiles of splits that share examples,
    which say how far splits scatter and nothing of how far the mean lies from the truth (NaN for broken).

    Raises:
        InputError: no trials, or two runs with one seed made the same promise, so that they differ in something else.
    """
    trials = certificates[certificates["trial"].notna() & certificates["test_loss"].notna()]
    if not len(trials):
        raise InputError("no trials in the certificates; they are made by calibration.trials=50")
    seeds = runs.set_index("run_id")["seed"]
    trials = trials.assign(seed=trials["run_id"].map(seeds), broken=trials["test_loss"] > trials["delta"])
    for _, rows in trials.groupby([*PROMISE, "seed"]):
        if rows["run_id"].nunique() > 1:
            first, second = rows["run_id"].unique()[:2]
            raise InputError(
                f"runs {first} and {second} have seed {rows['seed'].iloc[0]} both: give runs of other seeds"
            )
    keys = [*PROMISE, "seed"] if over == "splits" else PROMISE
    return pd.DataFrame(
        [{**dict(zip(keys, key, strict=True)), **_row(rows, over)} for key, rows in trials.groupby(keys, sort=False)]
    )


def _row(rows: pd.DataFrame, over: Over) -> dict[str, object]:
    by_seed = rows.groupby("seed")
    n_seeds, n_splits = by_seed.ngroups, int(by_seed.size().max())
    row: dict[str, object] = {"seeds": n_seeds, "splits": n_splits}
    shown = by_seed[[*VALUES, "broken"]].mean() if over == "seeds" else rows
    for column in [*VALUES, "broken"]:
        values = shown[column].to_numpy(np.float64)
        low, high = of_mean(values) if over == "seeds" else _middle(values, column)
        row |= {column: float(values.mean()), f"{column}_low": low, f"{column}_high": high}
    splits = f"the middle {LEVEL:.0%} of {n_splits} overlapping splits"
    of_seeds = f"{LEVEL:.0%} t-interval over {n_seeds} training seeds, each the mean of its {n_splits} splits"
    what = {
        "splits": splits,
        "seeds": of_seeds if n_seeds > 1 else f"no interval over one training seed, the mean of its {n_splits} splits",
        "both": f"{splits} of each of {n_seeds} training seeds" if n_seeds > 1 else splits,
    }[over]
    return {**row, "interval": what}


def of_mean(values: FloatArray) -> tuple[float, float]:
    """Student's interval of the mean of independent values; NaN for one."""
    if len(values) < 2:
        return np.nan, np.nan
    margin = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - margin), float(values.mean() + margin)


def _middle(values: FloatArray, column: str) -> tuple[float, float]:
    if column == "broken":
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
