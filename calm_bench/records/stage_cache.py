"""A cache of expensive stages, so that a sweep trains and decodes once and an interrupted run goes on where it was.

    runs_dir/stages/decode-3f2a9c0b1d4e/key.json            what the stage depends on, for a human
    runs_dir/stages/decode-3f2a9c0b1d4e/00007/NAME.parquet  chunk 7, complete as soon as its folder is there
    runs_dir/stages/decode-3f2a9c0b1d4e/00007/chunk.json    which chunk that is, and the digest of each of its files

A stage's folder is named by a hash of its key. The key must hold everything that the stage's result depends on and
nothing else: what is left out is silently shared, what is too much is computed again.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from calm_bench import processes
from calm_bench.errors import InputError
from calm_bench.records import tables
from calm_bench.records.atomic import make_folder, replacing, unwritable
from calm_bench.records.tables import File

log = logging.getLogger(__name__)
CHUNK_FILE = "chunk.json"


class StageCache:
    """The stages below `runs_dir`."""

    def __init__(self, runs_dir: str | Path) -> None:
        self.root = Path(runs_dir) / "stages"

    def folder(self, stage: str, key: Mapping[str, Any]) -> Path:
        """The folder of `stage` (a word, e.g. `decode`) under `key` (JSON values), which may not exist yet."""
        return self.root / f"{stage}-{hashlib.sha256(_canonical(key).encode()).hexdigest()[:12]}"

    @contextmanager
    def hold(self, stage: str, key: Mapping[str, Any]) -> Iterator[Path]:
        """Create the folder of `stage` under `key` and keep it to this process for the length of the block.

        A second process that wants the same folder waits, and then finds what the first one has done. The system frees
        the folder of a process that was killed.
        """
        folder = self.folder(stage, key)
        with locked(folder):
            make_folder(folder)
            with replacing(folder / "key.json") as file:
                file.write(f"{json.dumps(key, indent=2, sort_keys=True)}\n".encode())
            yield folder

    @contextmanager
    def hold_together(self, stage: str, key: Mapping[str, Any]) -> Iterator[Path]:
        """`hold` by the first of several processes for all of them: they enter together and leave together."""
        mine = self.hold(stage, key) if processes.is_first() else nullcontext(self.folder(stage, key))
        with mine as folder:
            processes.wait()
            yield folder
            processes.wait()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep `folder`, which may not exist yet, to this process; another one that wants it waits for the block to end."""
    make_folder(folder.parent)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process that works on %s", folder.name)
            lock.acquire()
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


class Chunks:
    """The numbered parts of a stage's result, from 0; each is a set of named tables with columns of one's choice.

    What is not as it was written (missing, torn, flipped, swapped, of another stage) is no chunk: it is named in the
    log, taken away and computed again.
    """

    def __init__(self, folder: Path, count: int) -> None:
        """`folder` is the stage's; `count` is how many chunks the result has."""
        self.folder = folder
        self.count = count
        self._intact: set[int] = set()
        if processes.is_first():
            for surplus in sorted({*folder.glob("[0-9]*")} - {*map(self._chunk, range(count))}):
                self._remove(surplus, f"it is none of this stage's {count} chunks")

    def done(self, i: int) -> bool:
        """Whether chunk `i` is there and whole. One that is not whole is taken away."""
        if i not in self._intact and self._chunk(i).exists():
            if fault := self._fault(i):
                self._remove(self._chunk(i), fault)
                return False
            self._intact.add(i)
        return i in self._intact

    def write(self, i: int, parts: Mapping[str, pd.DataFrame | pa.Table]) -> None:
        """Write chunk `i`, all of its tables or none; InputError where the folder cannot be written."""
        temporary = self.folder / f".{i:05d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            make_folder(temporary)
            files = []
            for name, part in parts.items():
                table = pa.Table.from_pandas(part, preserve_index=False) if isinstance(part, pd.DataFrame) else part
                files.append(asdict(tables.write(temporary / f"{name}.parquet", table.schema, [table])))
            about = {"stage": self.folder.name, "chunk": i, "files": files}
            with replacing(temporary / CHUNK_FILE) as file:
                file.write(f"{json.dumps(about, indent=2)}\n".encode())
            temporary.rename(self._chunk(i))
        except OSError as error:
            raise unwritable(self._chunk(i), error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def read(self, i: int, name: str) -> pa.Table:
        """The table `name` of chunk `i`. Raises InputError where that is not whole."""
        if not self.done(i):
            raise InputError(f"{self._chunk(i)}: missing or not whole; run this command again to compute it again")
        return pq.ParquetFile(self._chunk(i) / f"{name}.parquet").read()

    def each(self, name: str) -> Iterator[pa.Table]:
        """The table `name` of every chunk, one after another. Raises InputError as `read` does."""
        return (self.read(i, name) for i in range(self.count))

    def _fault(self, i: int) -> str | None:
        """What is wrong with chunk `i`, in words; None where it is whole."""
        folder = self._chunk(i)
        try:
            about = json.loads((folder / CHUNK_FILE).read_text(encoding="utf-8"))
            if (about["stage"], about["chunk"]) != (self.folder.name, i):
                return f"it is chunk {about['chunk']} of {about['stage']}"
            files = [File(**entry) for entry in about["files"]]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return f"its {CHUNK_FILE} cannot be read"
        if unknown := {item.name for item in folder.iterdir()} - {CHUNK_FILE, *(file.name for file in files)}:
            return f"{min(unknown)} does not belong to it"
        return next((f"{file.name}: {fault}" for file in files if (fault := file.fault(folder))), None)

    def _remove(self, chunk: Path, fault: str) -> None:
        log.warning("%s is taken away, to be computed again if it is needed: %s", chunk, fault)
        try:
            shutil.rmtree(chunk) if chunk.is_dir() and not chunk.is_symlink() else chunk.unlink()
        except OSError as error:
            raise unwritable(chunk, error) from error

    def _chunk(self, i: int) -> Path:
        return self.folder / f"{i:05d}"


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
