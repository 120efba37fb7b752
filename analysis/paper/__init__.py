"""The published numbers of the CALM paper, as data: one CSV file each, whose first line names its source."""

from functools import cache
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
TABLE2_TASKS = ("cnndm", "wmt15_enfr", "squad")


@cache
def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv", comment="#")


def published(name: str) -> pd.DataFrame:
    """The published table `name`: "table1", "table2", "table_d1" or "state_copying", in the paper's own layout."""
    return _read(name).copy()


def source(name: str) -> str:
    """Where the published table `name` comes from, in one line."""
    first = (FOLDER / f"{name}.csv").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# source: ")


def table2() -> pd.DataFrame:
    """Table 2, one row per task and operating point.

    Columns: objective ("textual" or "risk"), delta, measure, task, layers (mean of 8), flops_reduction
    (full / early, below 1 means more work) and speedup (whole generation, full / early).
    """
    wide = _read("table2")
    keys = ["objective", "delta", "measure"]
    parts = []
    for task in TABLE2_TASKS:
        part = wide[[*keys, f"{task}_layers", f"{task}_flops_reduction", f"{task}_speedup"]].copy()
        part.columns = pd.Index([*keys, "layers", "flops_reduction", "speedup"])
        part.insert(3, "task", task)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
