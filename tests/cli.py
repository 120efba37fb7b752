"""The command line as a user runs it: a process in a folder of its own.

Mostly a fork of one that has imported everything (`tests.prepared`), with the environment, folder, streams, signals and
exit status of any other process; where a fork could differ from a true start, it is one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MEASURES = ["softmax", "state", "classifier", "mlp_classifier"]
QUICK = ["tracking=disabled", "timing.examples=0", "calibration.trials=5", "figures=false"]
ROOT = Path(__file__).parents[1]
# Variables that Python and libraries read once, as they start: a fork of a process with other values would lie.
READ_AT_START = (
    "CUDA", "HF_", "HOME", "LANG", "LC_", "LD_", "MPL", "OMP_", "PYTHON", "TMP", "TORCH_", "TRANSFORMERS", "XDG_"
)  # fmt: skip


def environment() -> dict[str, str]:
    """Ours, without network and with this checkout's code."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(*arguments: str, cwd: Path, module: str = "calm_bench") -> Fork | subprocess.Popen[str]:
    """`python -m MODULE ARGUMENTS`, begun."""
    return python("-m", module, *arguments, cwd=cwd, env=environment())


def python(*words: str, cwd: Path, env: Mapping[str, str]) -> Fork | subprocess.Popen[str]:
    """`python WORDS`, begun; they are `-m MODULE ...` or `-c CODE ...`."""
    if sys.platform != "linux" or read_at_start(env) != prepared().at_start:
        return cold(*words, cwd=cwd, env=env)
    return Fork(prepared().line, {"words": words, "cwd": str(cwd), "env": dict(env)})


def cold(*words: str, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """The same from nothing, as at a user's prompt."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], cwd=cwd, env=env, text=True, **streams)


@dataclass(frozen=True)
class Done:
    """A process that has ended, and the folder it ran in."""

    cwd: Path
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, cwd: Path, module: str = "calm_bench") -> Done:
    """`python -m MODULE ARGUMENTS`, to its end."""
    process = start(*arguments, cwd=cwd, module=module)
    out, err = process.communicate(timeout=300)
    return Done(cwd, process.returncode, out, err)


class Fork:
    """A command in a fork of the prepared process, with what `subprocess.Popen` offers."""

    def __init__(self, server: socket.socket, request: Mapping[str, object]) -> None:
        self._line, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        socket.send_fds(server, [b"."], [their_out, their_err, theirs.fileno()])
        for descriptor in (their_out, their_err, theirs.detach()):
            os.close(descriptor)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self._line.send(json.dumps(request).encode())
        self.pid = int(self._line.recv(20))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, -N after signal N. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._line.recv(20))
            except (BlockingIOError, TimeoutError) as error:
                raise subprocess.TimeoutExpired("a fork", timeout or 0) from error
        return self.returncode

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it writes, until it ends. Raises subprocess.TimeoutExpired, and then has killed it."""
        with self.stdout, self.stderr, ThreadPoolExecutor(2) as readers:
            texts = readers.map(lambda stream: stream.read(), (self.stdout, self.stderr))
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
            out, err = texts
        return out, err

    def send_signal(self, number: int) -> None:
        """As os.kill; nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Prepared:
    """The process that forks for each command, and our end of the line to it."""

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair()
        env = environment()
        self.at_start = read_at_start(env)
        with theirs:
            self._process = subprocess.Popen([sys.executable, ROOT / "tests/prepared.py"], stdin=theirs, env=env)

    def end(self) -> None:
        self.line.shutdown(socket.SHUT_RDWR)
        self._process.wait(timeout=60)


@cache
def prepared() -> Prepared:
    """The one of this session, started by the first command; tests/conftest.py ends it."""
    return Prepared()


def read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_START)}
