"""A run's folder: run.json and its tables, each written completely or not at all.

run.json says `running` until the end, then `finished`, `interrupted` or `failed`. Only a finished run is complete.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from calm_bench.errors import InputError
from calm_bench.records import environment, schema
from calm_bench.records.atomic import make_folder, replacing

RUN_FILE = "run.json"
NEW = ".new"  # ends the name of a folder that will take the place of a finished record
WANDB = "wandb"  # what W&B has of the record (mirror.py): it stays, whatever becomes of the record
_KEYS = (
    "schema_version", "run_id", "name", "status", "created", "finished_at", "command", "config", "seed", "environment",
    "summary", "promises", "peak_memory_mb",
)  # fmt: skip


class Run:
    """One run's folder. `info` is the content of run.json, `path` the folder."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info

    @classmethod
    def create(
        cls,
        runs_dir: str | Path,
        run_id: str,
        config: Mapping[str, Any],
        *,
        name: str,
        seed: int,
        command: str | None = None,
    ) -> Self:
        """Start the record of a new run in `runs_dir/run_id`, with status `running`.

        Args:
            config: the resolved configuration, plain values only.
            name: the experiment's name.
            command: what a person types to run it again; None for a run that no command has started.

        Raises:
            InputError: `runs_dir` cannot be written (nothing is left behind), or the run already has a record.
        """
        path = Path(runs_dir) / run_id
        if (path / RUN_FILE).exists():
            raise InputError(f"runs_dir: {path} already holds a run; give another run_id")
        return cls._start(path, run_id, config, name, seed, command)

    @classmethod
    def _start(
        cls, path: Path, run_id: str, config: Mapping[str, Any], name: str, seed: int, command: str | None
    ) -> Self:
        run = cls(
            path,
            {
                "schema_version": schema.SCHEMA_VERSION,
                "run_id": run_id,
                "name": name,
                "status": "running",
                "created": _now(),
                "finished_at": None,
                "command": command,
                "config": plain(config),
                "seed": seed,
                "environment": environment.describe(),
                "summary": {},
                "promises": [],
                "peak_memory_mb": None,
            },
        )
        make_folder(path)
        try:
            run._save()
        except InputError:
            with suppress(OSError):
                path.rmdir()  # only if nobody else put anything there
            raise
        return run

    @classmethod
    def begin(
        cls, path: str | Path, config: Mapping[str, Any], *, name: str, seed: int, command: str | None = None
    ) -> Self:
        """Start a run's record in the folder `path`, in the place of an earlier record of the same run.

        Where the earlier record is finished it stays until the new one is: the new one grows in a hidden folder beside
        it, and `finish` lets it take its place. What was kept for W&B stays in any case: it may not be uploaded yet.
        """
        place = Path(path)
        with suppress(InputError):  # no record, or a torn one: nothing to keep
            if cls.open(place).status == "finished":
                place = place.with_name(f".{place.name}{NEW}")
        if (place / RUN_FILE).exists():
            _empty(place)
        return cls._start(place, Path(path).name, config, name, seed, command)

    def discard(self) -> None:
        """Remove the record: what was asked for could not run at all."""
        _empty(self.path)
        with suppress(OSError):
            self.path.rmdir()  # unless something is kept for W&B

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run in the folder `path`; raises InputError where run.json is missing, torn or of a newer schema."""
        path = Path(path)
        file = path / RUN_FILE
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{path}: not a run (no {RUN_FILE}); give a folder that a run has written") from None
        except ValueError as error:
            raise InputError(f"{file}: torn or not JSON: {error}") from error
        version = info.get("schema_version") if isinstance(info, dict) else None
        if not isinstance(version, int):
            raise InputError(f"{file}: schema_version is {version!r}, must be an integer")
        if version < schema.SCHEMA_VERSION:
            raise InputError(
                f"{file}: schema_version {version} is older than {schema.SCHEMA_VERSION}, the only one that this"
                " calm-bench reads; run it again, or read it with the calm-bench that wrote it"
            )
        if version > schema.SCHEMA_VERSION:
            raise InputError(
                f"{file}: schema_version {version} is newer than {schema.SCHEMA_VERSION}, the newest that this"
                " calm-bench reads; upgrade calm-bench"
            )
        if missing := [key for key in _KEYS if key not in info]:
            raise InputError(f"{file}: key {missing[0]!r} is missing")
        return cls(path, info)

    @property
    def run_id(self) -> str:
        return str(self.info["run_id"])

    @property
    def status(self) -> str:
        """`running` (or killed without a word), `finished`, `interrupted` or `failed`."""
        return str(self.info["status"])

    def file(self, name: str) -> Path:
        """Where the table called `name` stands, whether or not it has been written."""
        return self.path / f"{name}.parquet"

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Write the table called `name` (a key of `schema.SCHEMAS`), replacing an earlier one at once.

        Raises:
            InputError: a column does not fit the schema, or the folder cannot be written.
        """
        self._write(name, schema.to_table(name, frame))

    def append(self, name: str, frame: pd.DataFrame) -> None:
        """Add rows to the table called `name`, all of them or none; the rows that are there stay as they are."""
        rows = [self._read(name), schema.to_table(name, frame)]
        self._write(name, pa.concat_tables(rows, promote_options="permissive"))

    def read(self, name: str) -> pd.DataFrame:
        """Read the table called `name`; raises InputError where it is missing, torn or does not fit the schema."""
        return schema.to_frame(name, self._read(name), self.file(name))

    def _read(self, name: str) -> pa.Table:
        path = self.file(name)
        if not path.exists():
            raise InputError(f"{path}: no such table; the run is {self.status}")
        try:
            return pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: torn or not a Parquet file: {str(error).splitlines()[0]}") from error

    def _write(self, name: str, table: pa.Table) -> None:
        with replacing(self.file(name)) as file:
            pq.write_table(table, file, compression="zstd")

    def finish(self, promises: Sequence[str] = (), **summary: Any) -> None:
        """Close the record as `finished`: the promises in words, and the summary's scalars (a NaN becomes null)."""
        self.info |= {"promises": list(promises), "summary": plain(summary)}
        self.mark("finished")
        if self.path.name.endswith(NEW):
            self._take_its_place()

    def _take_its_place(self) -> None:
        """Leave the hidden folder for that of the earlier record of the same run, which then is gone."""
        place = self.path.with_name(self.run_id)
        before = place.with_name(f".{place.name}.old")
        shutil.rmtree(before, ignore_errors=True)
        place.rename(before)
        self.path = self.path.rename(place)
        if (before / WANDB).exists():  # the earlier record's: this one goes on under its W&B id
            (place / WANDB).mkdir(exist_ok=True)
            for item in (before / WANDB).iterdir():
                item.replace(place / WANDB / item.name)
        shutil.rmtree(before)

    def add_promises(self, promises: Sequence[str]) -> None:
        """Add promises made after the run had finished; everything else in run.json stays as it is."""
        self.info["promises"] = [*self.info["promises"], *promises]
        self._save()

    def mark(self, status: Literal["finished", "interrupted", "failed"]) -> None:
        """Close the record with `status`, the time and the peak memory."""
        self.info |= {"status": status, "finished_at": _now(), "peak_memory_mb": environment.peak_memory_mb()}
        self._save()

    def _save(self) -> None:
        text = json.dumps(self.info, indent=2, ensure_ascii=False, allow_nan=False)
        with replacing(self.path / RUN_FILE) as file:
            file.write(f"{text}\n".encode())


def find(runs_dir: str | Path) -> list[Run]:
    """Every run in `runs_dir`, whatever its status, oldest first; `runs_dir` may itself be one run's folder.

    Raises:
        InputError: `runs_dir` is not a folder, or a run's run.json cannot be read.
    """
    runs = [Run.open(folder) for folder in run_folders(runs_dir)]
    return sorted(runs, key=lambda run: (run.info["created"], run.run_id))


def run_folders(runs_dir: str | Path) -> list[Path]:
    """The folders of the runs that `find` opens, in the order of their names. Raises InputError for no folder."""
    folder = Path(runs_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a runs_dir or one run's folder")
    if (folder / RUN_FILE).exists():
        return [folder]
    return sorted(file.parent for file in folder.glob(f"[!.]*/{RUN_FILE}"))


def _empty(folder: Path) -> None:
    """Remove everything in a run's folder but what is kept for W&B."""
    for item in folder.iterdir():
        if item.is_dir() and item.name != WANDB:
            shutil.rmtree(item)
        elif not item.is_dir():
            item.unlink()


def plain(value: Any) -> Any:
    """`value` as JSON holds it: NumPy scalars and arrays unpacked, paths as text, NaN and infinity as null."""
    match value:
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case Path():
            return str(value)
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
