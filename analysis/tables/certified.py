"""The certified thresholds of a group, with what they cost and whether the promise held on held-out texts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import scopes
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table
from calm_bench import calibration
from calm_bench.calibration.promise import STATIC
from calm_bench.errors import InputError

KEYS = ["group", "run_id", "objective", "delta", "epsilon", "method", "guarantee", "unit", "together", "measure"]


def certified(certificates: pd.DataFrame) -> pd.DataFrame:
    """One row per run, objective, delta and measure: the threshold certified on all n units, and the trials.

    Columns: group, run_id, objective, delta, epsilon, method, guarantee, unit ("example" or "cluster"), together
    (promises that epsilon covers at once), measure, n, threshold (NaN = the full model; of static its layer), p_value,
    nearest_delta (where only the full model will do: the smallest that would have been certified), layers, score,
    speedup (NaN where the rule was not timed), trials, broken (trials whose held-out mean loss exceeded delta),
    test_loss (mean over trials) with test_loss_low and test_loss_high, its 95% interval (NaN where there is none).

    Raises:
        InputError: no certificates.
    """
    if not len(certificates):
        raise InputError("no certificates in the runs")
    chosen = certificates[certificates["trial"].isna()]
    rows = chosen.drop(columns="test_loss").rename(columns={"n_calibration": "n", "mean_exit_layer": "layers"})
    rows = rows.merge(_trials(certificates, rows), how="left", on=KEYS)
    rows["trials"] = rows["trials"].fillna(0).astype(int)
    order = ["n", "threshold", "p_value", "nearest_delta", "layers", "score", "speedup", "trials", "broken"]
    return rows[[*KEYS, *order, "test_loss", "test_loss_low", "test_loss_high"]].reset_index(drop=True)


def _trials(certificates: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    n = dict(zip(chosen[KEYS].itertuples(index=False, name=None), chosen["n"], strict=True))
    held_out = certificates[certificates["trial"].notna() & certificates["test_loss"].notna()]
    rows = []
    for key, trials in held_out.groupby(KEYS):
        losses = trials["test_loss"]
        found = calibration.held_out(losses, int(trials["n_calibration"].iloc[0]), int(n[key]))
        broken = int((losses > trials["delta"]).sum())
        rows.append((*key, len(trials), broken, found.mean, found.low, found.high))
    columns = [*KEYS, "trials", "broken", "test_loss", "test_loss_low", "test_loss_high"]
    return pd.DataFrame(rows, columns=columns)


def certified_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: text cells, "full model" where no threshold was certified, empty where nothing is known."""
    empty, sure = table["trials"] == 0, table["guarantee"] == "probability"
    threshold = _text(table["threshold"], "{:g}", "full model")
    layer = _text(table["threshold"], "layer {:.0f}", "full model")
    return pd.DataFrame(
        {
            "experiment": table["group"],
            "run": table["run_id"],
            "objective": table["objective"],
            "δ": table["delta"].map("{:g}".format),
            "ε": table["epsilon"].map("{:g}".format).where(sure, ""),
            "ε covers": table["together"].map(lambda n: f"all {n}" if n > 1 else "this one").where(sure, ""),
            "method": table["method"],
            "measure": table["measure"],
            "n": table["n"].map("{:d} ".format) + table["unit"] + "s",
            "threshold": threshold.where(table["measure"] != STATIC, layer),
            "layers": _text(table["layers"], "{:.2f}"),
            "score": _text(table["score"], "{:.1f}"),
            "speedup": _text(table["speedup"], "{:.2f}"),
            "loss, held out": [held_out_words(row) for row in table.to_dict("records")],
            "trials above δ": (table["broken"].astype(str) + " of " + table["trials"].astype(str)).mask(empty, ""),
        }
    )


def held_out_words(row: Mapping[Any, Any]) -> str:
    """The mean loss on held-out examples, with its interval where there is one; empty without trials."""
    if pd.isna(row["test_loss"]):
        return ""
    low, high = row["test_loss_low"], row["test_loss_high"]
    return f"{row['test_loss']:.3f}" + (f" ({max(low, 0):.3f} to {high:.3f})" if low < high else "")


def _text(column: pd.Series, form: str, absent: str = "") -> pd.Series:
    return column.map(form.format).where(column.notna(), absent)


def _of(records: Records) -> Table:
    table = certified(records.certificates)
    losses = ", ".join(f"1 - {name}" for name in dict.fromkeys(records.runs["similarity"]))
    return Table(table, certified_shown(table), f"Losses: {losses}.")


OUTPUTS = (Output("certified", "Certified thresholds", "", _of, scopes.ordinary),)
