"""Killed processes, full disks and folders that cannot be written, all of them real."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calm_bench.errors import InputError
from calm_bench.records.atomic import replacing
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.records.store import Run
from tests import cli

HALF = """
import sys, time
from pathlib import Path
from calm_bench.records.atomic import replacing

with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of the ")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
    file.write(b"new file")
"""

PROMISE_FOREVER = """
import sys
from calm_bench.records.store import Run

run = Run.open(sys.argv[1])
frame = run.read("certificates")
print("ready", flush=True)
for i in range(1, 1_000_000):
    run.add_promises(frame.assign(n_calibration=i), [str(i)])
"""


def _kill_after(script: str, argument: Path, seconds: float) -> None:
    """Run `script`, wait for its first line and then `seconds`, and kill it with SIGKILL."""
    child = cli.python("-c", script, str(argument), cwd=argument.parent, env=cli.environment())
    assert child.stdout is not None
    assert child.stdout.readline()
    time.sleep(seconds)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("old", [None, b"old file"])
def test_a_write_that_is_killed_leaves_the_old_file_or_none(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "run.json"
    if old is not None:
        path.write_bytes(old)
    _kill_after(HALF, path, 0)
    assert (path.read_bytes() if path.exists() else None) == old
    with replacing(path) as file:  # the next attempt clears away what the killed one left
        file.write(b"new file")
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"run.json": b"new file"}


@pytest.mark.slow
def test_a_run_killed_while_it_makes_promises_has_each_with_its_rows(run: Run, frames: dict[str, pd.DataFrame]) -> None:
    run.write("certificates", frames["certificates"].assign(n_calibration=0))
    run.finish(["0"])
    for seconds in (0.2, 0.31):
        _kill_after(PROMISE_FOREVER, run.path, seconds)
        after = Run.open(run.path)
        assert after.read("certificates")["n_calibration"].astype(str).unique().tolist() == sorted(
            set(after.info["promises"]), key=int
        )
    assert len(after.info["promises"]) > 1  # it did write


def test_an_error_inside_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old file")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert [found.name for found in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == b"old file"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(small_disk: Path, frames: dict[str, pd.DataFrame]) -> None:
    run = Run.create(small_disk, "first", {}, name="demo", seed=0)
    run.write("tokens", frames["tokens"])
    large = pd.concat([frames["tokens"]] * 40_000, ignore_index=True)
    large["token_id"] = np.random.default_rng(0).integers(0, 2**31, len(large))  # does not compress
    with pytest.raises(InputError, match="^runs_dir: cannot write .*tokens.parquet: .*No space left on device"):
        run.write("tokens", large)
    assert {path.name for path in run.path.iterdir()} == {"run.json", "tokens.parquet"}
    assert len(run.read("tokens")) == len(frames["tokens"])
    chunks = Chunks(small_disk, 1)
    with pytest.raises(InputError, match="No space left on device"):
        chunks.write(0, {"small": frames["frontier"], "large": large})
    assert not chunks.done(0)
    assert [path.name for path in small_disk.iterdir()] == ["first"]
    run.mark("failed")  # there is room for that again


def test_a_run_is_not_begun_on_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (small_disk / "filler").open("wb") as filler:
        filler.write(os.urandom(2**20))
    with pytest.raises(InputError, match="^runs_dir: cannot write .*No space left on device"):
        Run.create(small_disk / "runs", "first", {}, name="demo", seed=0)
    assert list(small_disk.glob("runs/*")) == []


def test_a_runs_dir_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # root may write anywhere, but not below a file
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(InputError, match="^runs_dir: cannot write .*Not a directory; give a folder") as error:
            Run.create(runs_dir, "first", {}, name="demo", seed=0)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError, match="^runs_dir: cannot write"), StageCache(runs_dir).hold("decode", {}):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
