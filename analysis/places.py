"""Where records come from: run folders, offline W&B files, or the W&B API. The last two become run folders first.

W&B has a record twice: whole, as the parquet files of its `exit-stats` artifact, and in part, as the tables, the config
and the summary of the run. The files are taken where they can be had; else what the tables hold, which is all but
texts and tokens.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis import offline
from calm_bench.errors import InputError, in_one_line
from calm_bench.records.inside import inside
from calm_bench.records.logged import LONG
from calm_bench.records.schema import SCHEMA_VERSION, SCHEMAS
from calm_bench.records.store import RUN_FILE, Run

MIRRORED = ("run_id", "created", "command", "environment")  # of run.json, which W&B has in the config
LOGGED = tuple(name for name in SCHEMAS if name not in LONG)  # what W&B also has as tables
PARTIAL = "partial"  # a key of run.json that says so
Fetch = Callable[[str], Path]


def run_folders(paths: Iterable[Path], project: str | None, scratch: Path) -> tuple[list[Path], list[str]]:
    """Folders of records for everything given, and a note for each run of which W&B has only a part, or none.

    Args:
        paths: run folders, folders of them, `.wandb` files, or folders that W&B wrote offline.
        project: ENTITY/PROJECT of the W&B API, or None.
        scratch: an empty folder for what has to be fetched or put together.
    """
    places: list[Path] = []
    notes: list[str] = []
    for path in paths:
        files = _offline_files(path)
        for number, file in enumerate(files):
            try:
                places.append(_from_offline(file, scratch / f"offline-{number}", notes))
            except InputError as error:  # one that cannot be read hides no other
                notes.append(f"{file}: left out: {str(error).removeprefix(f'{file}: ')}")
        places += [path] if not files else []
    if project is not None:
        places += _from_api(project, scratch, notes)
    return places, notes


def _offline_files(path: Path) -> list[Path]:
    """The `.wandb` files that `path` is or directly holds; none where it holds records."""
    if path.suffix == ".wandb":
        return [path]
    if (path / RUN_FILE).exists():
        return []
    return sorted([*path.glob("run-*.wandb"), *path.glob("offline-run-*/run-*.wandb")])


def _from_offline(file: Path, folder: Path, notes: list[str]) -> Path:
    run = offline.read(file)
    record = run.artifact.get(RUN_FILE)
    if record is not None and _is_record_of(record.parent, run.config.get("run_id")):
        return record.parent
    return _put_together(
        folder, run.name, run.config, run.values, lambda path: inside(run.folder / "files", path), notes
    )


def _is_record_of(folder: Path, run_id: object) -> bool:
    """Whether the folder that an offline file names is a record of this very run."""
    try:
        return Run.open(folder).run_id == run_id
    except InputError:
        return False


def _from_api(project: str, scratch: Path, notes: list[str]) -> list[Path]:
    """Fetch the runs of a project that calm-bench mirrored there. Raises InputError where W&B does not answer.

    Of several W&B runs of one record (an agent gives each trial its own id) the newest is taken, a finished one first.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else each call tells W&B how it went
    import wandb

    places: dict[str, Path] = {}
    taken: dict[str, str] = {}
    try:
        newest_first = wandb.Api().runs(project, order="-created_at", lazy=False)
        for run in sorted(newest_first, key=lambda run: run.state != "finished"):
            if "run_id" not in run.config:
                notes.append(f"left out {run.id}: not a run of calm-bench")
                continue
            run_id = str(run.config["run_id"])
            if run_id in places:
                notes.append(f"left out {run.id}: {taken[run_id]} is a later W&B run of {run_id}")
                continue
            folder = scratch / f"api-{len(places)}"  # ids and names are data: no path is made of them
            if not _downloaded(run, folder):
                tables = folder.with_name(f"{folder.name}-tables")

                def fetch(path: str, run: Any = run, root: Path = tables) -> Path:
                    inside(root, path)
                    return Path(run.file(path).download(root=str(root), replace=True).name)

                _put_together(folder, run_id, run.config, run.summary_metrics, fetch, notes)
            places[run_id], taken[run_id] = folder, run.id
    except InputError:
        raise
    except Exception as error:  # W&B raises many kinds, some of them private
        raise InputError(
            f"--wandb {project}: {in_one_line(error)}; give ENTITY/PROJECT and log in with `wandb login`"
        ) from error
    return list(places.values())


def _downloaded(run: Any, folder: Path) -> bool:
    """Whether the run has an artifact with its record, which then is in `folder`."""
    try:
        versions = [artifact for artifact in run.logged_artifacts() if artifact.type == "exit-stats"]
        if versions:  # one for each copy of the record; "v2" comes before "v10"
            latest = max(versions, key=lambda artifact: int(artifact.version[1:]))
            for name in latest.manifest.entries:
                inside(folder, name)
            latest.download(root=str(folder))
    except Exception:  # W&B raises many kinds; what the tables hold is better than nothing
        shutil.rmtree(folder, ignore_errors=True)
    return (folder / RUN_FILE).exists()


def _put_together(
    folder: Path, run_id: str, config: Mapping[str, Any], values: Mapping[str, Any], fetch: Fetch, notes: list[str]
) -> Path:
    """A record in `folder` from what W&B shows of a run; `fetch` gives the local file of one of its media paths."""
    folder.mkdir(parents=True)
    own = {key: value for key, value in config.items() if key not in (*MIRRORED, "_wandb")}
    info = {
        "schema_version": SCHEMA_VERSION,
        "run_id": config.get("run_id", run_id),
        "name": own.get("name", "run"),
        "status": values.get("status", "running"),
        "created": config.get("created", ""),
        "finished_at": None,
        "command": config.get("command"),
        "config": own,
        "seed": own.get("seed"),
        "environment": config.get("environment") or {},
        "summary": {key: value for key, value in values.items() if not _is_media(value)},
        "promises": values.get("promises") or [],
        "tables": {},
        "peak_memory_mb": None,
        PARTIAL: True,
    }
    record = Run(folder, info)
    for name in (*LOGGED, *(own.get("probes") or ())):
        table = values.get(name) or {}
        if _is_media(table):
            try:
                content = json.loads(fetch(table["path"]).read_text())
            except (OSError, ValueError, KeyError) as error:
                notes.append(f"{run_id}: without its {name}, whose file is not at hand ({in_one_line(error)})")
                continue
            frame = pd.DataFrame(content["data"], columns=content["columns"], dtype=object)
            columns = SCHEMAS.get(name) or pa.Schema.from_pandas(frame.infer_objects(), preserve_index=False)
            record.write(name, frame[columns.names], columns=columns)
    (folder / RUN_FILE).write_text(json.dumps(info, default=str))
    notes.append(f"{info['run_id']}: its files are not at hand, only the tables that W&B shows; no texts, no tokens")
    return folder


def _is_media(value: Any) -> bool:
    return isinstance(value, Mapping) and "_type" in value
