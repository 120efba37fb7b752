"""`python -m analysis RUNS --list`: one line a run, whatever became of it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analysis import places
from analysis.folders import Finished
from calm_bench.errors import InputError
from calm_bench.records.scalars import scalars
from calm_bench.records.store import RUN_FILE, Run, run_folders

COLUMNS = ("run", "status", "created", "task", "model", "measures", "n", "certified layers")


def listing(paths: Sequence[Path]) -> list[str]:
    """Every run under `paths` (runs, folders of runs, or what W&B keeps offline), oldest first, as aligned lines.

    Certified layers are the mean layers per token of each measure's certificates, the least and the most of them. A run
    that cannot be read comes last, with the reason. Raises InputError where there is none.
    """
    with TemporaryDirectory(prefix="calm-bench-") as scratch:
        at, _ = places.run_folders(paths, None, Path(scratch))
        folders = dict.fromkeys(folder.resolve() for place in at for folder in run_folders(place))
        if not folders:
            raise InputError(f"no run in {', '.join(map(str, paths))}: expected folders that hold a {RUN_FILE}")
        rows, unreadable = [], []
        for folder in folders:
            try:
                rows.append(_row(Run.open(folder)))
            except InputError as error:
                unreadable.append(f"{folder.name}  unreadable: {error}")
    rows.sort(key=lambda row: row[COLUMNS.index("created")])
    lines = pd.DataFrame(rows, columns=COLUMNS).to_markdown(index=False, tablefmt="plain").splitlines() if rows else []
    return [*(str(line).rstrip() for line in lines), *unreadable]


def _row(record: Run) -> tuple[str, ...]:
    run = Finished(record)
    about = record.info["summary"]
    measures = ",".join(run.config.get("measure") or {})
    created = str(record.info["created"])[:16].replace("T", " ")
    what = (record.run_id, record.status, created, run.identity["task"], run.identity["model"], measures)
    return (*what, str(about.get("n", "")), _certified(record))


def _certified(record: Run) -> str:
    if not ({"certificates", "frontier", "rules"} <= set(record.tables)):
        return ""
    layers: dict[str, list[float]] = {}
    for name, value in scalars(record).items():
        match name.split("/"):
            case "certified", measure, _, "layers":
                layers.setdefault(measure, []).append(value)
    return ", ".join(f"{measure} {min(values):.2f}-{max(values):.2f}" for measure, values in layers.items())
