"""A file is there completely or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from calm_bench.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` only once the block has ended without an error.

    It is written under a temporary name in the same folder, flushed to the disk and renamed, so that a reader meets the
    old file or the new one, whenever the process is killed. The temporary name is fixed: what a killed process left
    under it is overwritten by the next attempt.

    Raises:
        InputError: the disk is full or the folder cannot be written. Nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents where they are missing, or raise InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def require_writable(folder: Path) -> None:
    """Raise InputError where `folder`, or the nearest folder above it that is there, cannot be written."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.exists(place))
    if not there.is_dir():
        raise unwritable(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(there, os.W_OK | os.X_OK):
        raise unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(path: Path, error: OSError) -> InputError:
    """The one line that a user reads when `path` could not be written."""
    reason = error.strerror or str(error).splitlines()[0]
    return InputError(f"runs_dir: cannot write {path}: {reason}; give a folder that can be written and has room")
