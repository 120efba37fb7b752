"""What a run has told so far, a line a row in `RUN/wandb/live.jsonl`, and the process that shows it in W&B meanwhile.

The run appends a line and goes on. What follows the file is another process (`follower.py`): however slow W&B is, and
whatever becomes of it, the run waits for it a second at its very end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calm_bench.records.account import WANDB, level
from calm_bench.records.introduced import SINCE, TRAININGS

if TYPE_CHECKING:  # the follower needs no tables, which take a second to import
    from calm_bench.records.store import Run

log = logging.getLogger(__name__)

FILE = "live.jsonl"
PATIENCE = 1.0  # seconds that the follower has for the last rows when the run has ended
END, SUMMARY = "end", "summary"  # keys of the last line: the run's status, and its scalars
ADDRESS, LOST = "address", "lost"  # what the follower says: where the run is seen, or why it is not


class Live:
    """A run that goes on, and its follower: `follower`, which `start_follower` has made before, or one from now on."""

    def __init__(
        self,
        home: Path,
        introduction: Mapping[str, Any],
        mode: str,
        follower: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """Start in the run's folder. Raises OSError where it cannot be written."""
        folder = home / WANDB
        folder.mkdir(parents=True, exist_ok=True)
        self._begun = time.time()
        self._file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        self._follower = follower or start_follower()
        assert self._follower.stdin is not None
        given = {"run": os.getpid(), "rows": str(folder / FILE), "introduction": introduction, "mode": mode}
        with suppress(OSError), self._follower.stdin as line:  # it may have died already
            line.write(json.dumps(given).encode())

    def tell(self, values: Mapping[str, Any]) -> None:
        """Append a row. One that the disk does not take is left out."""
        now = time.time()
        line = json.dumps({**values, SINCE: round(now - self._begun, 3), "_timestamp": now})
        with suppress(OSError):
            os.write(self._file, f"{line}\n".encode())
        if "stage" in values:
            self._pass_on()

    def end(self, status: str, summary: Mapping[str, float]) -> None:
        """Say how the run has ended, and end the follower: it has a second for what it has not shown yet."""
        self.tell({END: status, SUMMARY: dict(summary)})
        os.close(self._file)
        try:
            self._follower.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._follower.pid, signal.SIGKILL)
            self._follower.wait()
        self._pass_on()
        if self._follower.stdout is not None:
            self._follower.stdout.close()

    def _pass_on(self) -> None:
        """Log what the follower has said, if anything. It is asked for between stages, when no bar is drawn."""
        assert self._follower.stdout is not None
        with suppress(OSError, ValueError):
            for line in (self._follower.stdout.read() or b"").splitlines():
                said = json.loads(line)
                if address := said.get(ADDRESS):
                    log.log(level(), "W&B: live at %s", address)
                if reason := said.get(LOST):
                    log.warning("W&B: not shown while it runs (%s); its record is not touched by that", reason)


def start_follower() -> subprocess.Popen[bytes]:
    """A process that imports W&B, which takes a second, and waits for a run; without one it ends with this process."""
    follower = subprocess.Popen(
        [sys.executable, "-m", "calm_bench.records.follower"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"},  # a process of ours
        process_group=0,  # Ctrl-C is for the run, which says how it ended
    )
    assert follower.stdout is not None
    os.set_blocking(follower.stdout.fileno(), False)
    return follower


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """What the run has told, but for its trainings, whose curves a record has. A line that is not whole is left out."""
    with suppress(OSError), (run.home / WANDB / FILE).open(encoding="utf-8") as file:
        for line in file:
            row = {name: value for name, value in checked(line).items() if isinstance(value, int | float | str)}
            of_training = any(name.startswith(f"{curve}/") for curve in TRAININGS.values() for name in row)
            if row and END not in row and not of_training:
                yield row


def checked(line: str | bytes) -> dict[str, Any]:
    """The row in a line: numbers and words by name; nothing where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
