"""The start of a command: it imports for a second before it can do anything, and Ctrl-C meanwhile is a line, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any


def main_of(module: str) -> Callable[[], Any]:
    """`main` of that module, which is imported now."""
    with starting():
        return import_module(module).main


@contextmanager
def starting() -> Iterator[None]:
    """In this block, which imports what a command needs, Ctrl-C ends the process."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # to be ignored, or a program's own
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    """At once: nothing has begun, and an exception might end up in any library that is being imported."""
    os.write(2, b"calm-bench: interrupted while it started\n")
    os._exit(130)
