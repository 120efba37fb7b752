"""The certified thresholds of a group, with what they cost and whether the promise held on held-out texts."""

import pandas as pd

from analysis import scopes
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table
from calm_bench.errors import InputError

KEYS = ["group", "objective", "delta", "epsilon", "method", "measure"]


def certified(certificates: pd.DataFrame) -> pd.DataFrame:
    """One row per group, objective, delta and measure: the threshold certified on all n examples, and the trials.

    Columns: group, objective, delta, epsilon, method, measure, n, threshold (NaN = the full model), p_value, layers,
    score, speedup (NaN where the rule was not timed), trials, broken (trials whose held-out loss exceeded delta) and
    test_loss (mean over trials).

    Raises:
        InputError: no certificates.
    """
    if not len(certificates):
        raise InputError("no certificates in the runs")
    chosen = certificates[certificates["trial"].isna()]
    rows = chosen.drop(columns="test_loss").merge(_trials(certificates), how="left", on=KEYS)
    rows = rows.rename(columns={"n_calibration": "n", "mean_exit_layer": "layers"})
    rows["trials"] = rows["trials"].fillna(0).astype(int)
    order = ["n", "threshold", "p_value", "layers", "score", "speedup", "trials", "broken", "test_loss"]
    return rows[[*KEYS, *order]].reset_index(drop=True)


def _trials(certificates: pd.DataFrame) -> pd.DataFrame:
    held_out = certificates[certificates["trial"].notna() & certificates["test_loss"].notna()]
    broken = held_out.assign(broken=held_out["test_loss"] > held_out["delta"])
    return broken.groupby(KEYS, as_index=False).agg(
        trials=("broken", "size"), broken=("broken", "sum"), test_loss=("test_loss", "mean")
    )


def certified_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: text cells, "full model" where no threshold was certified, empty where nothing is known."""
    empty = table["trials"] == 0
    return pd.DataFrame(
        {
            "experiment": table["group"],
            "objective": table["objective"],
            "δ": table["delta"].map("{:g}".format),
            "ε": table["epsilon"].map("{:g}".format),
            "method": table["method"],
            "measure": table["measure"],
            "n": table["n"].map("{:d}".format),
            "threshold": _text(table["threshold"], "{:.2f}", "full model"),
            "layers": _text(table["layers"], "{:.2f}"),
            "score": _text(table["score"], "{:.1f}"),
            "speedup": _text(table["speedup"], "{:.2f}"),
            "loss, held out": _text(table["test_loss"], "{:.3f}"),
            "trials broken": (table["broken"].astype(str) + " of " + table["trials"].astype(str)).mask(empty, ""),
        }
    )


def _text(column: pd.Series, form: str, absent: str = "") -> pd.Series:
    return column.map(form.format).where(column.notna(), absent)


def _of(records: Records) -> Table:
    table = certified(records.certificates)
    losses = ", ".join(f"1 - {name}" for name in dict.fromkeys(records.runs["similarity"]))
    return Table(table, certified_shown(table), f"Losses: {losses}.")


OUTPUTS = (Output("certified", "Certified thresholds", "", _of, scopes.ordinary),)
