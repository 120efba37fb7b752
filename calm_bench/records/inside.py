"""Paths that come from data: they name something in their own folder, or nothing."""

from pathlib import Path

from calm_bench.errors import InputError


def inside(folder: Path, name: object) -> Path:
    """The path `name` below `folder`, links resolved. Raises InputError for one that leads out of it."""
    try:
        path = (folder / str(name)).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise InputError(f"{name!r} is no path below {folder}") from error
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise InputError(f"{name!r} leads out of {folder}")
    return path
