"""The command line as a user runs it: a real process in a folder of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MEASURES = ["softmax", "state", "classifier"]
QUICK = ["tracking=disabled", "timing.examples=0", "calibration.trials=5", "figures=false"]


def environment() -> dict[str, str]:
    """Ours, without network and with this checkout's code."""
    root = str(Path(__file__).parents[1])
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


def start(*arguments: str, cwd: Path, module: str = "calm_bench") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Done:
    """A process that has ended, and the folder it ran in."""

    cwd: Path
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, cwd: Path, module: str = "calm_bench") -> Done:
    process = start(*arguments, cwd=cwd, module=module)
    out, err = process.communicate(timeout=300)
    return Done(cwd, process.returncode, out, err)
