"""Every timed arm: the full model, rules, and the programs beside them (appendix C.1 of the paper)."""

import pandas as pd

from analysis import scopes
from analysis.answers import speed
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table
from calm_bench.errors import InputError


def _of(records: Records) -> Table:
    """One row per run and arm, with the run's hardware and the columns that its summary has of the arm.

    Raises:
        InputError: no run was timed.
    """
    runs = {run_id: run.record.info["summary"].get("speed") or [] for run_id, run in records.stored.items()}
    kept = [(run_id, arms) for run_id, arms in runs.items() if arms and run_id in set(records.runs["run_id"])]
    if not kept:
        raise InputError("no run was timed (timing.examples above 0)")
    hardware = records.runs.set_index("run_id")["hardware"]
    tidy = [_after(pd.DataFrame(arms), run_id=run_id, hardware=hardware[run_id]) for run_id, arms in kept]
    shown = [_after(_shown(arms), run=run_id, hardware=hardware[run_id]) for run_id, arms in kept]
    return Table(pd.concat(tidy, ignore_index=True), pd.concat(shown, ignore_index=True), f"{speed.NOTE}.")


def _shown(arms: list[speed.Arm]) -> pd.DataFrame:
    header, *rows = speed.rows(arms)
    return pd.DataFrame(rows, columns=header)


def _after(table: pd.DataFrame, **first: str) -> pd.DataFrame:
    """The table after these columns."""
    return table.assign(**first)[[*first, *table.columns]]


OUTPUTS = (Output("speed", "Seconds of every timed arm", "appendix C.1", _of, scopes.everything),)
