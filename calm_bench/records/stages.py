"""A cache of expensive stages, so that a sweep trains and decodes once and an interrupted run goes on where it was.

    runs_dir/stages/decode-3f2a9c0b1d4e/key.json            what the stage depends on, for a human
    runs_dir/stages/decode-3f2a9c0b1d4e/00007/NAME.parquet  chunk 7, complete as soon as its folder is there

A stage's folder is named by a hash of its key. The key must hold everything that the stage's result depends on and
nothing else: what is left out is silently shared, what is too much is computed again.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from calm_bench import processes
from calm_bench.errors import InputError
from calm_bench.records.atomic import make_folder, replacing, unwritable

log = logging.getLogger(__name__)


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
    """Numbered parts of a stage's result, each a set of named frames with columns of the caller's choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, i: int) -> bool:
        """Whether chunk `i` (from 0) is complete."""
        return self._chunk(i).is_dir()

    def write(self, i: int, frames: Mapping[str, pd.DataFrame]) -> None:
        """Write chunk `i`, all of its frames or none; InputError where the folder cannot be written."""
        temporary = self.folder / f".{i:05d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            make_folder(temporary)
            for name, frame in frames.items():
                with replacing(temporary / f"{name}.parquet") as file:
                    frame.to_parquet(file, index=False, compression="zstd")
            temporary.rename(self._chunk(i))
        except OSError as error:
            raise unwritable(self._chunk(i), error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def read_all(self) -> dict[str, pd.DataFrame]:
        """Every frame, its chunks one after another, by name; empty where no chunk was written.

        Raises:
            InputError: a chunk in the middle is missing, or a file cannot be read.
        """
        chunks = sorted(self.folder.glob("[0-9][0-9][0-9][0-9][0-9]"))
        if chunks != [self._chunk(i) for i in range(len(chunks))]:
            raise InputError(f"{self.folder}: a chunk is missing; delete this folder to compute the stage again")
        parts: dict[str, list[pd.DataFrame]] = {}
        for chunk in chunks:
            for path in sorted(chunk.glob("*.parquet")):
                parts.setdefault(path.stem, []).append(_read(path))
        return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}

    def _chunk(self, i: int) -> Path:
        return self.folder / f"{i:05d}"


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: torn ({error}); delete {path.parent} to compute it again") from error
    return frame
