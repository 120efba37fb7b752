"""`python -m calm_bench.records.follower`: shows a run in W&B while it goes on, in a process of its own.

`Live` starts it and says on standard input whose run that is, where its rows are and how it is introduced. It ends with
the run, and where the run has died without a word it says so to W&B: killed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from calm_bench.errors import in_one_line
from calm_bench.records import introduced
from calm_bench.records.account import environment, resolve_mode
from calm_bench.records.live import ADDRESS, END, LOST, SUMMARY, checked

if TYPE_CHECKING:
    import wandb

POLL_SECONDS = 0.25


def main() -> None:
    """Follow a run to its end, if one begins."""
    with environment():
        try:
            import wandb  # noqa: F401 - a second, before the run has begun

            if not (line := sys.stdin.read()):
                return
            given = json.loads(line)
            mode = resolve_mode(given["mode"])
            if mode == "disabled":
                return
            tracked = introduced.begin(given["introduction"], mode)
            if mode == "online":
                say({ADDRESS: tracked.url or ""})
            status = follow(tracked, Path(given["rows"]), given["run"])
            tracked.finish(introduced.EXIT_STATUS.get(status, 1))
        except Exception as error:  # W&B raises many kinds
            say({LOST: f"{type(error).__name__}: {in_one_line(error)}"})


def follow(tracked: wandb.Run, place: Path, run: int) -> str:
    """Log each row of the file as it comes, until the last or until the process `run` is gone; the run's status."""
    with place.open("rb") as file:
        rest = b""
        while True:
            alone = os.getppid() != run  # before reading: what it has written is there by then
            *lines, rest = (rest + file.read()).split(b"\n")
            for row in map(checked, lines):
                if END in row:
                    tracked.summary.update({**row[SUMMARY], "status": row[END]})
                    return str(row[END])
                tracked.log(row)
            if alone:
                tracked.summary.update({"status": "interrupted"})
                return "interrupted"
            time.sleep(POLL_SECONDS)


def say(words: dict[str, str]) -> None:
    """To the run, if it still listens."""
    try:
        print(json.dumps(words), flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
