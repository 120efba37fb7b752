"""`python -m analysis RUNS --list`: one line a run, whatever became of it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.folders import Finished
from calm_bench.errors import InputError
from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run, find

COLUMNS = ("run", "status", "created", "task", "model", "measures", "n", "certified layers")


def listing(paths: Sequence[Path]) -> list[str]:
    """Every run under `paths`, oldest first, as aligned lines. Raises InputError where there is none.

    Certified layers are the mean layers per token of each measure's certificates, the least and the most of them.
    """
    records = {record.path.resolve(): record for path in paths for record in find(path)}
    if not records:
        raise InputError(f"no run in {', '.join(map(str, paths))}: expected folders that hold a run.json")
    rows = [_row(record) for record in sorted(records.values(), key=lambda record: str(record.info["created"]))]
    lines: list[str] = pd.DataFrame(rows, columns=COLUMNS).to_markdown(index=False, tablefmt="plain").splitlines()
    return [line.rstrip() for line in lines]


def _row(record: Run) -> tuple[str, ...]:
    run = Finished(record)
    about = record.info["summary"]
    measures = ",".join(run.config.get("measure") or {})
    created = str(record.info["created"])[:16].replace("T", " ")
    what = (record.run_id, record.status, created, run.identity["task"], run.identity["model"], measures)
    return (*what, str(about.get("n", "")), _certified(record))


def _certified(record: Run) -> str:
    if not (record.file("certificates").exists() and record.file("frontier").exists()):
        return ""
    layers: dict[str, list[float]] = {}
    for name, value in scalars(record).items():
        kind, _, rest = name.partition("/")
        if kind == "certified_layers":
            layers.setdefault(rest.split("/")[0], []).append(value)
    return ", ".join(f"{measure} {min(values):.2f}-{max(values):.2f}" for measure, values in layers.items())
