"""What a run tells while it goes on, to whoever follows it, and how long its stages take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Values = Mapping[str, float | str]
"""Numbers and words by name; the part of a name before its first slash is the stage."""

_followers: list[Callable[[Values], None]] = []


@contextmanager
def followed(follower: Callable[[Values], None]) -> Iterator[None]:
    """In this block `follower` is given what is told. It must be quick, and never raise."""
    _followers.append(follower)
    try:
        yield
    finally:
        _followers.remove(follower)


def tell(values: Values) -> None:
    """Tell those who follow the run, if there is anyone."""
    for follower in _followers:
        follower(values)


class Stages:
    """The stages of a run, and the wall seconds that each has taken so far."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell that the stage of that name begins, and at its end, however it ends, how long it took."""
        tell({"stage": name})
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - begun, 3)
            tell({f"seconds/{name}": self.seconds[name]})


class Pace:
    """How far a stage is, how quick and how long it still takes: told at its first step, its last, and in between
    every 5 seconds, as STAGE/UNITs, STAGE/UNITs_per_second (since it was last told) and STAGE/seconds_left."""

    EVERY = 5.0  # seconds

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._total, self._units = stage, total, f"{unit}s"
        self._at, self._told = time.perf_counter(), 0
        self._next = self._at

    def reached(self, done: int) -> None:
        """So many of the total are done."""
        now = time.perf_counter()
        if done > self._told and (now >= self._next or done >= self._total):
            rate = (done - self._told) / max(now - self._at, 1e-9)
            values = {self._units: done, f"{self._units}_per_second": rate, "seconds_left": (self._total - done) / rate}
            tell({f"{self._stage}/{name}": value for name, value in values.items()})
            self._at, self._told, self._next = now, done, now + self.EVERY
