"""New promises from old records: the trials of `certificates.parquet` again, at any delta and epsilon, without a model.

The records hold the loss of every example under every threshold, so a finer grid costs no decoding.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calm_bench.calibration import trials
from calm_bench.errors import InputError

BASELINES = ("static", "oracle", "full")
DELTAS = {"textual": (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4), "risk": (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1)}


def recertify(
    generations: pd.DataFrame,
    objective: str,
    *,
    deltas: Sequence[float] | None = None,
    epsilons: Sequence[float] = (0.05,),
    method: str = "ltt",
    n_trials: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Certify each measure on `n_trials` random 80% parts and look at the other 20% (paper, section 5 and App. B).

    generations: rows of generations.parquet of one group. objective: "textual" or "risk". deltas, epsilons: in (0, 1).
    Returns rows like those of certificates.parquet (objective, delta, epsilon, measure, method, trial, n_calibration,
    threshold, test_loss, mean_exit_layer over tokens, and group), without the rows certified on all examples.

    Raises:
        InputError: the full model or every adaptive measure is missing, or a value is out of range.
    """
    full = generations[generations["measure"] == "full"].set_index("example_id")
    adaptive = generations[~generations["measure"].isin(BASELINES)]
    if not len(full) or not len(adaptive):
        raise InputError("generations.parquet lacks the full model or every adaptive measure: nothing to certify")
    rows = []
    for measure, decoded in adaptive.groupby("measure"):
        tables = {column: _table(decoded, column) for column in (f"{objective}_loss", "n_tokens", "mean_exit_layer")}
        losses = tables[f"{objective}_loss"]
        rest = full.loc[losses.columns]
        tokens = tables["n_tokens"].to_numpy()
        for delta in deltas or DELTAS[objective]:
            for epsilon in epsilons:
                done = trials(
                    losses.to_numpy(),
                    losses.index.to_numpy(),
                    delta=delta,
                    epsilon=epsilon,
                    method=method,
                    n_trials=n_trials,
                    seed=seed,
                )
                count = rest["n_tokens"].to_numpy()
                layers = done.test_means(
                    tables["mean_exit_layer"].to_numpy() * tokens, rest["mean_exit_layer"].to_numpy() * count
                )
                rows.append(
                    pd.DataFrame(
                        {
                            "objective": objective,
                            "delta": delta,
                            "epsilon": epsilon,
                            "measure": measure,
                            "method": method,
                            "trial": np.arange(n_trials),
                            "n_calibration": done.n_calibration,
                            "threshold": done.thresholds,
                            "test_loss": done.test_means(losses.to_numpy(), np.zeros(losses.shape[1])),
                            "mean_exit_layer": layers / done.test_means(tokens, count),
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True).assign(group=generations["group"].iloc[0])


def _table(decoded: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column as (K thresholds, descending; n examples), for the examples that every threshold has."""
    table = decoded.pivot(index="threshold", columns="example_id", values=column)
    return table.sort_index(ascending=False).dropna(axis="columns")
