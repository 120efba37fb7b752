"""The same for each item, by several processes that share all memory as it is now."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: list[tuple[Callable[..., object], Sequence[object]]] = []  # of a process that does it


MOST = 8  # processes: each takes some hundred megabytes of its own


def cores() -> int:
    """How many processes are worth it here: as there are cores, and 1 where none can be forked safely, as on macOS."""
    return min(MOST, len(os.sched_getaffinity(0))) if sys.platform == "linux" else 1


def each(do: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """`do(item)` for every item, in their order. Results travel between processes, items need not.

    Whoever asks for several processes has none of its own threads at work, for a fork copies their locks as they are.
    """
    if min(processes, len(items)) < 2:
        yield from map(do, items)
        return
    pool = ProcessPoolExecutor(
        min(processes, len(items)), multiprocessing.get_context("fork"), initializer=_begin, initargs=(do, items)
    )
    try:
        for result in pool.map(_nth, range(len(items))):
            yield cast(Result, result)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(do: Callable[..., object], items: Sequence[object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that says so
    _work.append((do, items))


def _nth(number: int) -> object:
    do, items = _work[-1]
    return do(items[number])
