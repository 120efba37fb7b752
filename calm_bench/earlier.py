"""Whether the record of a configuration is there already: asked before anything is imported that takes seconds."""

from __future__ import annotations

from pathlib import Path

from calm_bench.config import Config
from calm_bench.errors import InputError
from calm_bench.records.store import Run
from calm_bench.stages.identity import run_id


def finished(config: Config) -> Run | None:
    """The finished record of this very configuration, if there is one and it is not to be made again."""
    folder = Path(config.runs_dir) / run_id(config)
    if config.force or not (folder / "run.json").exists():
        return None
    try:
        record = Run.open(folder)
    except InputError as error:
        raise InputError(f"{error}; force=true makes it anew") from error
    return record if record.status == "finished" else None
