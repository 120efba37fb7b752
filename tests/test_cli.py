"""Commands in forks of the prepared process behave as processes that were started from nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import cli

Start = Callable[..., cli.Fork | subprocess.Popen[str]]
SHOW = """
import atexit, os, sys
atexit.register(print, "at the end")
print(os.getcwd(), os.environ.get("MINE"), sys.argv, __name__, sys.stdin.read() == "", sep="|")
print("to standard error", file=sys.stderr)
"""


@pytest.fixture(params=[cli.python, cli.cold])
def python(request: pytest.FixtureRequest) -> Start:
    start: Start = request.param
    return start


def test_it_has_its_own_folder_environment_words_and_streams(python: Start, tmp_path: Path) -> None:
    env = {**cli.environment(), "MINE": "yes"}
    one, other = (python("-c", SHOW, word, cwd=tmp_path, env=env) for word in ("one", "other"))
    for process, word in ((other, "other"), (one, "one")):
        assert process.communicate(timeout=60) == (
            f"{tmp_path}|yes|['-c', '{word}']|__main__|True\nat the end\n", "to standard error\n"
        )  # fmt: skip
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("code", "status", "last"),
    [
        ("pass", 0, None),
        ("import sys; sys.exit(3)", 3, None),
        ("raise SystemExit('in words')", 1, "in words"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, None),
        ("import os; os._exit(7)", 7, None),
    ],
)
def test_its_exit_status(code: str, status: int, last: str | None, python: Start, tmp_path: Path) -> None:
    process = python("-c", code, cwd=tmp_path, env=cli.environment())
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert process.poll() == status
    assert (err.splitlines() or [None])[-1] == last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_it(number: int, python: Start, tmp_path: Path) -> None:
    code = "import time; print('here', flush=True); time.sleep(60)"
    process = python("-c", code, cwd=tmp_path, env=cli.environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    assert process.poll() is None
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    process.terminate()  # it has ended: nothing


def test_a_timeout(python: Start, tmp_path: Path) -> None:
    process = python("-c", "import time; time.sleep(60)", cwd=tmp_path, env=cli.environment())
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.1)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert time.monotonic() - begun < 10


def test_a_module_is_the_main_one_and_bad_words_are_refused(tmp_path: Path) -> None:
    assert cli.run("limmit=3", cwd=tmp_path).returncode == 2
    (tmp_path / "mine.py").write_text("import sys; print(__name__, sys.argv, sys.modules['__main__'].__spec__.name)")
    done = cli.run("word", cwd=tmp_path, module="mine")
    assert done.stdout == f"__main__ ['{tmp_path / 'mine.py'}', 'word'] mine\n"


def test_what_python_reads_as_it_starts_makes_a_true_start(tmp_path: Path) -> None:
    code = "import sys; print(sys.flags.hash_randomization, 'torch' in sys.modules)"
    assert isinstance(cli.python("-c", "pass", cwd=tmp_path, env=cli.environment()), cli.Fork)
    seeded = cli.python("-c", code, cwd=tmp_path, env={**cli.environment(), "PYTHONHASHSEED": "0"})
    assert seeded.communicate(timeout=60)[0] == "0 False\n"
    assert sys.flags.hash_randomization == 1
