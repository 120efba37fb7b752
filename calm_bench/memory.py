"""Memory that does not suffice: a line that says what takes less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from calm_bench.errors import InputError, in_one_line

SAID = ("out of memory", "ALLOC_FAILED", "can't allocate memory")  # by CUDA, its libraries, and torch on a CPU


@contextmanager
def enough_memory(what: str, instead: str) -> Iterator[None]:
    """Raises InputError where memory, a GPU's or the machine's, ends in this block: WHAT more than memory holds."""
    try:
        yield
    except InputError:
        raise  # a line already
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in SAID):
            raise InputError(f"{what} more than memory holds; {instead}: {in_one_line(error, 120)}") from error
        raise
