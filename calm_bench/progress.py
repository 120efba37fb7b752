"""How far along, on standard error: a bar on a terminal, now and then a line in a log, nothing of what is soon done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import Any, Self, TypeVar

from tqdm import tqdm

from calm_bench import console
from calm_bench.following import Pace

Item = TypeVar("Item")
AFTER = 3.0  # seconds until a terminal shows a bar
FIRST, BETWEEN = 10.0, 30.0  # seconds until a log has its first line, and between two lines


class Progress:
    """So many of a total are done: with rate and time left. A context manager."""

    def __init__(
        self, total: int, title: str, unit: str, *, done: int = 0, shown: bool = True, stage: str | None = None
    ) -> None:
        """done: what an earlier process has done of it. shown: whether anything is shown at all.

        stage: that of the run, where it is one; then those who follow the run are told, too.
        """
        self._pace = Pace(stage, total, unit) if stage else None
        self._done = self._begun_with = done
        self._total, self._title, self._unit = total, title, unit
        self._about = ""
        self._begun = time.monotonic()
        self._next = self._begun + FIRST
        self._bar: tqdm[Any] | None = None
        self._logs = shown and not _on_a_terminal()
        if shown and not self._logs:
            self._bar = tqdm(total=total, initial=done, desc=title, unit=unit, dynamic_ncols=True, delay=AFTER)

    def update(self, more: int = 1) -> None:
        """So many more are done."""
        self._done += more
        if self._pace:
            self._pace.reached(self._done)
        if self._bar is not None:
            self._bar.update(more)
        elif self._logs and (now := time.monotonic()) >= self._next:
            self._next = now + BETWEEN
            console.complain(self._line(now - self._begun))

    def about(self, text: str) -> None:
        """What is said beside it from now on, such as a loss."""
        self._about = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """All that will be done is done."""
        if self._bar is not None:
            self._bar.close()
        elif self._logs and self._next > self._begun + FIRST:  # it has said something
            seconds = time.monotonic() - self._begun
            console.complain(f"{self._title}: {self._done} {self._unit}s in {tqdm.format_interval(seconds)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._begun_with) / seconds
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "?"
        pace = f"{rate:.3g} {self._unit}s a second" if rate >= 1 else f"{1 / rate if rate else 0:.3g} s each"
        about = f", {self._about}" if self._about else ""
        return f"{self._title}: {self._done} of {self._total} {self._unit}s, {pace}, {left} left{about}"


def each(
    items: Iterable[Item], total: int, title: str, unit: str, counting: Callable[[Item], int] = lambda _: 1
) -> Iterator[Item]:
    """The items, and how far along they are. counting: how many of the total an item is."""
    with Progress(total, title, unit) as progress:
        for item in items:
            yield item
            progress.update(counting(item))


@contextmanager
def waiting(title: str, *, after: float = AFTER) -> Iterator[None]:
    """That something goes on of which nobody knows how far along it is, and for how long it has.

    after: seconds until a terminal shows it.
    """
    done = Event()
    clock = Thread(target=_tick, args=(title, after, done), daemon=True)
    clock.start()
    try:
        yield
    finally:
        done.set()
        clock.join()


def _tick(title: str, after: float, done: Event) -> None:
    begun = time.monotonic()
    if _on_a_terminal():
        if not done.wait(after):
            with tqdm(desc=title, bar_format="{desc}, {elapsed}", leave=False) as shown:
                shown.start_t -= after
                while not done.wait(1.0):
                    shown.refresh()
        return
    pause = FIRST
    while not done.wait(pause):
        console.complain(f"{title}: {tqdm.format_interval(time.monotonic() - begun)} so far")
        pause = BETWEEN


def around_a_line() -> AbstractContextManager[None]:
    """While something else writes a line to standard error: no bar is in its way."""
    return tqdm.external_write_mode()


def _on_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
