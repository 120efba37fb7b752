"""SIGTERM and Ctrl-C: what they raise, also in the jobs that a launcher runs in processes of its own."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

JOB_SECONDS = 30.0  # for a job in another process to close its record


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, with another exit status."""


def take() -> None:
    """From now on SIGTERM raises Terminated, and Ctrl-C KeyboardInterrupt, both after the jobs of a launcher."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _end)


@contextmanager
def in_a_job() -> Iterator[None]:
    """A job ends on SIGTERM in a launcher's process, too; there it shows for its length that it runs."""
    before = signal.signal(signal.SIGTERM, _end)
    sign = None if before is _end else _sign(os.getppid(), os.getpid())
    try:
        if sign:
            sign.touch()
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if sign:
            sign.unlink(missing_ok=True)


def _end(number: int, _frame: FrameType | None) -> None:
    """Stop here, once the jobs in a launcher's processes have closed their records: joblib would kill them."""
    jobs = [job for job in multiprocessing.active_children() if _sign(os.getpid(), job.pid).exists()]
    for job in jobs:
        job.terminate()
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline and any(_sign(os.getpid(), job.pid).exists() and job.is_alive() for job in jobs):
        time.sleep(0.05)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _sign(parent: int, process: int | None) -> Path:
    return Path(tempfile.gettempdir()) / f"calm-bench-{parent}-{process}"
