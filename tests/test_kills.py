"""Runs that lose their process, their disk or their sole right to a folder, and the records they leave all the same."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from calm_bench.records.store import Run, find
from tests import cli

pytestmark = pytest.mark.slow
TABLES = ["generations", "tokens", "certificates", "frontier"]
KILLS = 3


@pytest.fixture(scope="module")
def command(tiny_checkpoint: Path) -> list[str]:
    few = ["measure=[softmax]", "threshold.grid=[0.9,0.5,0.3]", "baselines=[static]"]
    return [f"model.path={tiny_checkpoint}", "limit=400", "task.max_new_tokens=24", *few, *cli.QUICK]


@pytest.fixture(scope="module")
def timed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """The run that nothing disturbs, and its seconds."""
    cli.run("--version", cwd=tmp_path_factory.mktemp("first"))  # the first command waits for what all are forks of
    begun = time.monotonic()
    done = cli.run(*command, cwd=tmp_path_factory.mktemp("undisturbed"))
    return _finished(done), time.monotonic() - begun


@pytest.fixture(scope="module")
def undisturbed(timed: tuple[Run, float]) -> Run:
    return timed[0]


def test_a_run_killed_again_and_again_ends_with_the_undisturbed_record(
    command: list[str], timed: tuple[Run, float], tmp_path: Path
) -> None:
    undisturbed, whole = timed
    moments, kills, chunks = random.Random(0), 0, 0
    while kills < KILLS:
        process = cli.start(*command, cwd=tmp_path)
        time.sleep(whole * moments.uniform(0.25, 0.7))
        process.kill()
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        runs = find(tmp_path / "runs") if (tmp_path / "runs").exists() else []
        assert [run.status for run in runs] in ([], ["running"], ["finished"])
        if process.returncode == 0:  # it came to its end between two kills: once more from the beginning
            _equal(runs[0], undisturbed)
            shutil.rmtree(tmp_path / "runs")
            chunks = 0
            continue
        kills += 1
        now = len(list(tmp_path.glob("runs/stages/decode-*/[0-9]*")))
        assert now >= chunks  # what is there stays there
        chunks = now
    resumed = _finished(cli.run(*command, cwd=tmp_path))
    _equal(resumed, undisturbed)
    assert not [path for path in tmp_path.rglob("*.tmp") if path.parent == resumed.path]


def test_two_identical_commands_at_once_leave_one_record(command: list[str], undisturbed: Run, tmp_path: Path) -> None:
    both = [cli.start(*command, cwd=tmp_path) for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [status for _, _, status in ended] == [0, 0], ended
    assert {out.splitlines()[-1] for out, _, _ in ended} == {f"run: {Path('runs') / undisturbed.run_id}"}
    assert sum("waiting for another process" in err for _, err, _ in ended) == 1, ended
    (record,) = find(tmp_path / "runs")
    _equal(record, undisturbed)


@pytest.mark.parametrize(("size", "left"), [("200k", []), ("1m", ["finished"])])  # while decoding; while drawing
def test_a_disk_that_fills_up_during_a_run_is_one_line(
    command: list[str], undisturbed: Run, tmp_path: Path, size: str, left: list[str]
) -> None:
    disk = tmp_path / "runs"
    disk.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.decode().strip()}")
    try:
        done = cli.run(*command, "figures=true", cwd=tmp_path)
        assert done.returncode == (0 if left else 2), done.stderr  # a drawing that fails leaves a finished run finished
        line = done.stderr.replace("\r", "\n").splitlines()[-1]
        assert line.startswith("no figures: " if left else "calm-bench: runs_dir: cannot write runs/")
        assert "No space left on device" in line
        assert "Traceback" not in done.stderr
        assert list(disk.rglob("*.tmp")) == []
        assert list(disk.rglob("figures")) == []
        assert [run.status for run in find(disk)] == left
        if left:
            _equal(find(disk)[0], undisturbed)
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            _finished(cli.run(*command, cwd=tmp_path))  # with room, the same command draws what was missing
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _finished(done: cli.Done) -> Run:
    assert done.returncode == 0, done.stderr
    return Run.open(done.cwd / done.stdout.splitlines()[-1].removeprefix("run: "))


def _equal(run: Run, expected: Run) -> None:
    assert run.status == "finished"
    for table in TABLES:
        pd.testing.assert_frame_equal(run.read(table), expected.read(table))
