"""The full model's score beside what takes no model to write, and beside exits that always knew."""

import pandas as pd

from analysis import scopes
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table, with_interval
from calm_bench.errors import InputError

KEPT = ["group", "run_id", "task", "model", "draw", "quality"]
TRIVIAL = {
    "name": "trivial", "score": "trivial_score", "low": "trivial_score_low", "high": "trivial_score_high",
    "ahead": "ahead", "ahead_low": "ahead_low", "ahead_high": "ahead_high", "beaten": "beaten",
}  # fmt: skip


def scores(runs: pd.DataFrame, frontier: pd.DataFrame) -> pd.DataFrame:
    """One row per run whose task has a trivial baseline, in the order of the runs.

    runs, frontier: frames of `analysis.load`. Columns: group, run_id, task, model, draw (its seeds), quality, n, score
    (of the full model, 0..100), trivial (what the baseline is), trivial_score, ahead (by how much the full model is
    better), each with _low and _high (95% over texts); beaten (whether all of ahead's interval is above 0); oracle (the
    score of oracle exits) and oracle_layers, NaN where the run has none.

    Raises:
        InputError: no run says a trivial baseline.
    """
    told = runs[runs["trivial"].notna()]
    if not len(told):
        raise InputError("no run has a trivial baseline")
    known = pd.DataFrame(told["trivial"].tolist(), index=told.index)[list(TRIVIAL)].rename(columns=TRIVIAL)
    table = pd.concat([told[KEPT], known], axis="columns")
    full = frontier[frontier["measure"] == "full"].set_index("run_id")
    oracle = frontier[frontier["measure"] == "oracle"].set_index("run_id")
    for column in ("n", "score", "score_low", "score_high"):
        table[column] = table["run_id"].map(full[column])
    table["oracle"], table["oracle_layers"] = (
        table["run_id"].map(oracle[column]) for column in ("score", "mean_exit_layer")
    )
    return table.reset_index(drop=True)


def scores_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: text cells, empty where nothing is known."""
    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "task": table["task"],
            "experiment": table["group"],
            "seed": table["draw"].str.removeprefix("seed "),
            "n": table["n"].map("{:.0f}".format),
            "score": table["quality"],
            "full model": [with_interval(row, "score", 1) for row in rows],
            "trivial baseline": [f"{row['trivial']}: {with_interval(row, 'trivial_score', 1)}" for row in rows],
            "ahead": [with_interval(row, "ahead", 1) for row in rows],
            "beats it": table["beaten"].map({True: "yes", False: "no"}),
            "oracle": [
                "" if pd.isna(row["oracle"]) else f"{row['oracle']:.1f} at {row['oracle_layers']:.2f} layers"
                for row in rows
            ],
        }
    )


NOTE = (
    "Intervals are 95%, bootstrap over texts; those of ahead resample both texts together. A model beats its trivial "
    "baseline where all of that interval is above 0; certificates of one that does not are not worth much. oracle: "
    "each token leaves at the first layer that agrees with the last."
)


def not_better(runs: pd.DataFrame) -> str:
    """Which groups have a full model that is no better than its trivial baseline, in a sentence; empty where none."""
    told = runs[runs["trivial"].notna()]
    below = told["group"][[not baseline["beaten"] for baseline in told["trivial"]]]
    if not len(below):
        return ""
    named = ", ".join(dict.fromkeys(below))
    return f"The full model does not beat its trivial baseline, so its promises are not worth much: {named}."


def _of(records: Records) -> Table:
    table = scores(records.runs, records.frontier)
    return Table(table, scores_shown(table), NOTE)


OUTPUTS = (Output("scores", "Scores beside a trivial baseline", "", _of, scopes.ordinary),)
