"""Every timed arm: the full model, rules, and the programs beside them (appendix C.1 of the paper)."""

import pandas as pd

from analysis import scopes
from analysis.answers import speed
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table
from calm_bench.errors import InputError


def _of(records: Records) -> Table:
    """One row per run and arm, with the columns that the run's summary has of it.

    Raises:
        InputError: no run was timed.
    """
    runs = {run_id: run.record.info["summary"].get("speed") or [] for run_id, run in records.stored.items()}
    kept = [(run_id, arms) for run_id, arms in runs.items() if arms and run_id in set(records.runs["run_id"])]
    if not kept:
        raise InputError("no run was timed (timing.examples above 0)")
    tidy = pd.concat([pd.DataFrame(arms).assign(run_id=run_id) for run_id, arms in kept], ignore_index=True)
    shown = pd.concat([_shown(run_id, arms) for run_id, arms in kept], ignore_index=True)
    return Table(tidy[["run_id", *tidy.columns.drop("run_id")]], shown, f"{speed.NOTE}.")


def _shown(run_id: str, arms: list[speed.Arm]) -> pd.DataFrame:
    header, *rows = speed.rows(arms)
    shown = pd.DataFrame(rows, columns=header)
    shown.insert(0, "run", run_id)
    return shown


OUTPUTS = (Output("speed", "Seconds of every timed arm", "appendix C.1", _of, scopes.everything),)
