"""Spread over splits, training seeds or both: what each of them holds, and that it says so."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.spread import spread
from calm_bench.errors import InputError

SEEDS, SPLITS = 3, 40
RUNS = pd.DataFrame({"run_id": [f"run-{seed}" for seed in range(SEEDS)], "seed": range(SEEDS)})
LAYERS = {0: 2.0, 1: 3.0, 2: 5.0}  # mean layers of each training seed; its splits lie within 0.2 of it


def certificates() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(SEEDS):
        for trial in [None, *range(SPLITS)]:
            rows.append(
                {
                    "run_id": f"run-{seed}", "name": "demo", "task": "t", "model": "m", "objective": "textual",
                    "delta": 0.1, "epsilon": 0.05, "method": "ltt", "measure": "softmax", "trial": trial,
                    "test_loss": None if trial is None else (0.2 if seed == 2 and trial < 4 else 0.05),
                    "test_score": 40.0 + seed, "mean_exit_layer": LAYERS[seed] + rng.uniform(-0.2, 0.2),
                    "flops_reduction": 2.0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows).astype({"test_loss": float, "trial": "Int32"})


def test_over_splits_each_seed_has_its_own_interval() -> None:
    table = spread(certificates(), RUNS, "splits").set_index("seed")
    assert len(table) == SEEDS
    for seed, layers in LAYERS.items():
        assert layers - 0.2 < table.loc[seed, "mean_exit_layer_low"] < layers - 0.1
        assert layers + 0.1 < table.loc[seed, "mean_exit_layer_high"] < layers + 0.2
    assert table["broken"].tolist() == [0, 0, 0.1]
    assert table[["broken_low", "broken_high"]].isna().all(axis=None)  # overlapping splits are no sample of 40
    assert set(table["interval"]) == {"the middle 95% of 40 overlapping splits"}


def test_over_seeds_the_splits_are_averaged_first() -> None:
    (row,) = spread(certificates(), RUNS, "seeds").to_dict("records")
    rows = certificates().dropna(subset="trial")
    means = rows.groupby("run_id")["mean_exit_layer"].mean()
    assert row["mean_exit_layer"] == pytest.approx(means.mean())
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert [row["mean_exit_layer_low"], row["mean_exit_layer_high"]] == pytest.approx(list(expected))
    assert row["broken"] == pytest.approx(0.1 / 3)
    assert row["interval"] == "95% t-interval over 3 training seeds, each the mean of its 40 splits"
    assert "seed" not in row


def test_over_one_seed_there_is_no_interval() -> None:
    one = certificates().query("run_id == 'run-0'")
    (row,) = spread(one, RUNS, "seeds").to_dict("records")
    assert row["mean_exit_layer"] == pytest.approx(2, abs=0.1)
    assert np.isnan([row["mean_exit_layer_low"], row["mean_exit_layer_high"]]).all()
    assert row["interval"].startswith("no interval over one training seed")


def test_the_interval_over_three_seeds_covers_the_truth_as_often_as_it_says() -> None:
    """Percentiles of three seeds would cover it in 73 of 100 cases."""
    rng = np.random.default_rng(0)
    splits, covered = certificates().query("trial == 0"), 0
    for _ in range(300):
        (row,) = spread(splits.assign(mean_exit_layer=rng.normal(4, 1, SEEDS)), RUNS, "seeds").to_dict("records")
        covered += row["mean_exit_layer_low"] <= 4 <= row["mean_exit_layer_high"]
    assert 0.91 <= covered / 300 <= 0.985


def test_over_both_every_split_of_every_seed_counts() -> None:
    (row,) = spread(certificates(), RUNS, "both").to_dict("records")
    rows = certificates().dropna(subset="trial")["mean_exit_layer"]
    assert [row["mean_exit_layer_low"], row["mean_exit_layer_high"]] == pytest.approx(
        rows.quantile([0.025, 0.975]).tolist()
    )
    assert row["broken"] == pytest.approx(4 / 120)
    assert row["interval"] == "the middle 95% of 40 overlapping splits of each of 3 training seeds"


def test_runs_that_differ_in_more_than_the_seed_are_refused() -> None:
    with pytest.raises(InputError, match="runs run-0 and run-1 have seed 0 both"):
        spread(certificates(), RUNS.assign(seed=[0, 0, 1]), "both")
    with pytest.raises(InputError, match="no trials"):
        spread(certificates().query("trial.isna()"), RUNS, "splits")
