"""How far the trials of a promise spread: over random splits, over training seeds, or over both, and which of them."""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from calm_bench.errors import InputError

Over = Literal["splits", "seeds", "both"]
PROMISE = ["name", "task", "model", "objective", "delta", "epsilon", "method", "measure"]
VALUES = ["test_loss", "test_score", "mean_exit_layer", "flops_reduction"]
LEVEL = 0.95


def spread(certificates: pd.DataFrame, runs: pd.DataFrame, over: Over) -> pd.DataFrame:
    """Means of what the trials of each promise measured on held-out examples, each with its 95% interval.

    certificates, runs: frames of `analysis.load`, of runs that differ in nothing but their training seed (and measure).
    over: "splits": one row for each seed, the interval holds the splits of that seed. "seeds": the interval holds one
    mean over splits for each seed. "both": the interval holds the splits of all seeds.

    Columns: name, task, model, objective, delta, epsilon, method, measure; seed (only over splits); seeds and splits
    (how many); test_loss, test_score, mean_exit_layer, flops_reduction and broken (share of splits whose test loss
    exceeded delta), each with _low and _high; and interval, which says in words what the intervals are. They are
    percentiles, except that of broken over splits, which is the exact binomial one. It takes splits for independent;
    as they share examples, read it as a rough guide.

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
    tail = (1 - LEVEL) / 2
    for column in [*VALUES, "broken"]:
        values = shown[column].to_numpy(np.float64)
        low, high = np.quantile(values, [tail, 1 - tail])
        if column == "broken" and over != "seeds":
            interval = binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL)
            low, high = interval.low, interval.high
        row |= {column: float(values.mean()), f"{column}_low": float(low), f"{column}_high": float(high)}
    splits = f"{n_splits} splits"
    what = {
        "splits": splits,
        "seeds": f"{n_seeds} training seeds, each the mean of its {n_splits} splits",
        "both": f"{splits} of each of {n_seeds} training seeds" if n_seeds > 1 else splits,
    }[over]
    return {**row, "interval": f"{LEVEL:.0%} over {what}"}
