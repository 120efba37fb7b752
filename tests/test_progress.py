"""How far along: a line now and then in a log, a bar on a terminal, and nothing of what is soon done."""

import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from calm_bench import progress
from tests import cli


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs have a line as soon as there is something to say."""
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "BETWEEN", 0.0)


def test_what_is_soon_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.each("abc", 3, "count", "letter")) == ["a", "b", "c"]
    with progress.waiting("nothing"):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("at_once")
def test_a_log_has_lines_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 104.0, 120.0, 121.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.Progress(50, "train", "step", done=10) as bar:
        bar.update(20)
        bar.about("loss 0.5")
        bar.update(2)
    assert capsys.readouterr().err.splitlines() == [
        "train: 30 of 50 steps, 5 steps a second, 00:04 left",
        "train: 32 of 50 steps, 1.1 steps a second, 00:16 left, loss 0.5",
        "train: 32 steps in 00:21",
    ]


@pytest.mark.usefixtures("at_once")
def test_slow_steps_have_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 20.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.Progress(3, "draw", "figure") as bar:
        bar.update()
    assert capsys.readouterr().err.splitlines()[0] == "draw: 1 of 3 figures, 20 s each, 00:40 left"


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_counted_says_how_long_it_has_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.waiting("think"):
        while not (said := capsys.readouterr().err):
            time.sleep(0.01)
    assert said.startswith("think: 00:00 so far")


def test_who_is_not_shown_says_nothing(at_once: None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress(2, "count", "thing", shown=False) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


PROGRAM = """
from calm_bench import progress
progress.AFTER = 0.0
with progress.Progress(4, "count", "thing") as bar:
    for _ in range(4):
        bar.update()
        bar.about("loss 1")
with progress.waiting("think", after=0.0):
    import time; time.sleep(0.3)
"""


def test_a_terminal_has_a_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=cli.environment(), stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 1000):
            said += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    assert b"count: 100%" in said
    assert b"think" in said
