"""A run's folder: run.json and its tables, each written completely or not at all.

run.json says `running` until the end, then `finished`, `interrupted` or `failed`. Only a finished run is complete. It
names the files of each table, with their digests: a file that it does not name is no part of the record.
"""

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from calm_bench.errors import InputError
from calm_bench.records import environment, schema, tables
from calm_bench.records.account import WANDB
from calm_bench.records.atomic import make_folder, replacing
from calm_bench.records.tables import File, Table

RUN_FILE = "run.json"
NEW = ".new"  # ends the name of a folder that will take the place of a finished record
_TEXT_OR_NONE = (str, type(None))
_KEYS: dict[str, type | tuple[type, ...]] = {
    "schema_version": int, "run_id": str, "name": str, "status": str, "created": str, "finished_at": _TEXT_OR_NONE,
    "command": _TEXT_OR_NONE, "config": dict, "seed": (int, type(None)), "environment": dict, "summary": dict,
    "promises": list, "tables": dict, "peak_memory_mb": (int, float, type(None)),
}  # fmt: skip


class Run:
    """One run's folder. `info` is the content of run.json, `path` the folder."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self._intact: set[File] = set()

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
                "tables": {},
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
        """The run in the folder `path`; raises InputError where run.json is missing, torn or of another schema."""
        path = Path(path)
        file = path / RUN_FILE
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{path}: not a run (no {RUN_FILE}); give a folder that a run has written") from None
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
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
        _check(info, file)
        return cls(path, info)

    @property
    def home(self) -> Path:
        """The folder that the record has or, if it grows beside an earlier one, will have; W&B's things are there."""
        return self.path.with_name(self.run_id) if self.path.name.endswith(NEW) else self.path

    @property
    def run_id(self) -> str:
        return str(self.info["run_id"])

    @property
    def status(self) -> str:
        """`running` (or killed without a word), `finished`, `interrupted` or `failed`."""
        return str(self.info["status"])

    @property
    def tables(self) -> list[str]:
        """The names of the tables that have been written: those of the schema in its order, then the probes'."""
        return [name for name in schema.SCHEMAS if name in self.info["tables"]] + self.probes

    @property
    def probes(self) -> list[str]:
        """The names of the probes that have answered, each with a table of that name."""
        return [name for name in self.info["tables"] if name not in schema.SCHEMAS]

    def files(self, name: str) -> list[Path]:
        """The files of the table called `name`; none where it has not been written."""
        return [self.path / entry["name"] for entry in self.info["tables"].get(name, [])]

    def write(self, name: str, *parts: pd.DataFrame | pa.Table, columns: pa.Schema | None = None) -> None:
        """Write the table called `name`, replacing an earlier one: its rows part by part.

        columns: of a probe's table; for all others `schema.SCHEMAS` says them.

        Raises:
            InputError: a column does not fit the schema, or the folder cannot be written.
        """
        self.stream(name, (schema.to_table(name, part, columns) for part in parts), columns)

    def stream(self, name: str, parts: Iterable[pa.Table], columns: pa.Schema | None = None) -> None:
        """The same for parts that are made, and forgotten, one by one; each becomes row groups of the file."""
        file = tables.write(self.path / f"{name}.parquet", columns or schema.SCHEMAS[name], parts)
        self.info["tables"][name] = [asdict(file)]
        self._save()

    def table(self, name: str) -> Table:
        """The table called `name`, to be read as a whole or batch by batch.

        Raises:
            InputError: it was not written, or one of its files is not what was written.
        """
        entries = [File(**entry) for entry in self.info["tables"].get(name, [])]
        if not entries:
            raise InputError(f"{self.path / name}.parquet: no such table; the run is {self.status}")
        for entry in entries:
            if entry not in self._intact and (fault := entry.fault(self.path)):
                raise InputError(f"{self.path / entry.name}: {fault}; run it again, or take a copy that is whole")
            self._intact.add(entry)
        return Table(name, [self.path / entry.name for entry in entries])

    def read(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The table called `name` as a frame; InputError where it is not whole or not of the schema."""
        return self.table(name).read(columns)

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

    def add_promises(self, certificates: pd.DataFrame, promises: Sequence[str]) -> None:
        """Add certificates, and their promises in words, to a run that has finished: both or, if killed, neither.

        They have a file of their own; what is there stays as it is.
        """
        entries = self.info["tables"]["certificates"]
        file = tables.write(
            self.path / f"certificates-{len(entries)}.parquet",
            schema.CERTIFICATES,
            [schema.to_table("certificates", certificates)],
        )
        later = {**self.info["tables"], "certificates": [*entries, asdict(file)]}
        self.info |= {"tables": later, "promises": [*self.info["promises"], *promises]}
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


def _check(info: Mapping[str, Any], file: Path) -> None:
    """Raise InputError unless every key of run.json is there and of its type, and tables name files beside it."""
    for key, types in _KEYS.items():
        if key not in info:
            raise InputError(f"{file}: key {key!r} is missing")
        if not isinstance(info[key], types):
            raise InputError(f"{file}: key {key!r} is {str(info[key])[:40]!r}, which does not belong there")
    for name, entries in info["tables"].items():
        try:
            inside = all(Path(File(**entry).name).name == entry["name"] for entry in entries)
        except (TypeError, KeyError):
            inside = False
        if not inside:
            raise InputError(f"{file}: tables.{name} must list files of this folder, each with name, rows and sha256")


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
