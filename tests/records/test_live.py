"""A run in W&B while it goes on: there from its beginning, seen to die, and never in the run's way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.offline import read, records_of
from calm_bench.records.introduced import varied
from calm_bench.records.live import rows, start_follower
from calm_bench.records.store import Run
from tests import cli
from tests.wandb_stub import Stub, serving

# Begins to follow a run, tells of it, says how long that took, waits for a line, and ends it.
FOLLOWED = """
import logging, sys, time
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
from calm_bench.records.store import Run
from calm_bench.records.weights_and_biases import WeightsAndBiases

def timed(act, *given):
    begun = time.monotonic()
    act(*given)
    seconds.append(time.monotonic() - begun)

run, seconds = Run.open(sys.argv[1]), []
tracker = WeightsAndBiases(mode=sys.argv[2], tags=["three"])
timed(tracker.expect)
timed(tracker.begin, run)
for values in ({"stage": "decode"}, {"decode/texts": 8}, {"training/step": 1, "training/loss": 2.5}):
    timed(tracker.tell, values)
print(max(seconds), tracker._live._follower.pid, flush=True)
match sys.stdin.readline().strip():
    case "refuse":
        tracker.forget(run)
        run.discard()
    case "leave":
        seconds.clear()
        timed(tracker._leave, "finished", {})
        print(max(seconds))
    case status:
        run.finish() if status == "finished" else run.mark(status)
        tracker.end(run)
"""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


class Following:
    """The process above."""

    def __init__(self, run: Run, mode: str, stub: Stub) -> None:
        kept = {name: value for name, value in cli.environment().items() if not name.startswith("WANDB_")}
        env = {**kept, **stub.environment(), "WANDB_INIT_TIMEOUT": "40"}
        env["WANDB__FILE_STREAM_TRANSMIT_INTERVAL"] = "1"  # seconds; W&B itself waits 15
        self.process = subprocess.Popen(
            [sys.executable, "-c", FOLLOWED, str(run.path), mode],
            env=env, text=True, stdin=-1, stdout=-1, stderr=-1,
        )  # fmt: skip
        assert self.process.stdout is not None
        seconds, follower = self.process.stdout.readline().split()
        self.slowest, self.follower = float(seconds), int(follower)

    def end(self, how: str) -> tuple[str, str]:
        out, err = self.process.communicate(f"{how}\n", timeout=60)
        assert self.process.returncode == 0, err
        return out, err


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def history(run: Run) -> list[dict[str, object]]:
    """Of the one copy on the disk."""
    (file,) = run.path.glob("wandb/*run-*/run-*.wandb")
    kept = [record.history for record in records_of(file) if record.WhichOneof("record_type") == "history"]
    return [{item.nested_key[0]: json.loads(item.value_json) for item in each.item if item.nested_key} for each in kept]


@pytest.mark.slow
def test_it_is_online_while_it_runs_and_then_replaced(run: Run, stub: Stub) -> None:
    following = Following(run, "online", stub)
    until(lambda: stub.runs and any("training/loss" in row for row in next(iter(stub.runs.values())).history))
    (online,) = stub.runs.values()
    assert online.state == "running"
    assert (online.config["run_id"], online.about["tags"]) == ("first", ["demo", "three"])
    assert [row["stage"] for row in online.history if "stage" in row] == ["decode"]
    _, err = following.end("finished")
    assert err.count(f"{stub.url}/") == 2
    assert err.startswith("W&B: live at ")
    (online,) = stub.runs.values()
    assert (online.state, online.summary["status"]) == ("finished", "finished")
    assert [row["decode/texts"] for row in history(run) if "decode/texts" in row] == [8]
    assert not any("training/loss" in row for row in history(run))  # a record has its training's curves
    begun, *_, last = [row["_timestamp"] for row in map(json.loads, (run.path / "wandb/live.jsonl").open())]
    assert next(row["_timestamp"] for row in history(run)) == begun < last


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_one_that_dies_is_seen_to_die_and_keeps_its_id(mode: str, run: Run, stub: Stub) -> None:
    following = Following(run, mode, stub)
    kept = json.loads((run.path / "wandb/mirror.json").read_text())["id"]
    until(lambda: [*run.path.glob(f"wandb/*run-*-{kept}/run-{kept}.wandb")])
    following.process.kill()
    following.process.communicate()
    if mode == "online":
        until(lambda: kept in stub.runs and stub.runs[kept].exit_code is not None)
        assert (stub.runs[kept].exit_code, stub.runs[kept].summary["status"]) == (255, "interrupted")
        return
    (file,) = run.path.glob(f"wandb/offline-run-*-{kept}/run-{kept}.wandb")
    until(lambda: read(file).exit_code is not None)
    assert read(file).exit_code == 255
    assert [row.get("decode/texts") for row in history(run)] == [None, 8, None]

    assert run.status == "running"
    again = Following(Run.begin(run.path, {}, name="demo", seed=0), mode, stub)
    again.end("finished")
    (file,) = run.path.glob("wandb/*run-*/run-*.wandb")  # of the two attempts, and the live ones of both
    assert (file.stem, read(file).exit_code) == (f"run-{kept}", 0)
    assert stub.runs == {}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "hangs", "refuses"])
def test_whatever_becomes_of_w_and_b_the_run_waits_a_second(fault: str, run: Run, stub: Stub) -> None:
    if fault == "hangs":
        stub.on_UpsertBucket = lambda _: time.sleep(60)  # type: ignore[method-assign, assignment, return-value]
    elif fault == "refuses":
        stub.on_UpsertBucket = None  # type: ignore[method-assign]
    following = Following(run, "online", stub)
    assert following.slowest < 1
    if fault == "killed":
        until(lambda: stub.runs)
        os.kill(following.follower, signal.SIGKILL)
    out, _ = following.end("leave")
    assert float(out) < 2  # a second, and the clock of a busy machine
    with pytest.raises(ProcessLookupError):
        os.kill(following.follower, 0)


@pytest.mark.slow
def test_what_could_not_run_at_all_leaves_nothing(run: Run, stub: Stub) -> None:
    following = Following(run, "offline", stub)
    until(lambda: [*run.path.glob("wandb/offline-run-*")])
    following.end("refuse")
    assert not run.path.exists()


def test_rows_that_are_none_are_left_out(run: Run) -> None:
    (run.path / "wandb").mkdir()
    lines = [
        '{"a": 1, "b": {"_type": "image-file", "path": "/etc/passwd"}}',
        "[1]",
        '{"torn',
        "",
        '{"end": "finished"}',
    ]
    (run.path / "wandb/live.jsonl").write_text("\n".join(lines))
    assert list(rows(run)) == [{"a": 1}]


def test_a_run_is_called_by_the_options_that_its_command_varies(run: Run) -> None:
    given = "+experiment=demo measure=[softmax] 'task.prompt=a b' runs_dir=/there tracking.mode=online figures=false"
    run.info["command"] = f"python -m calm_bench {given} ++limit=5"
    assert varied(run) == ["measure=[softmax]", "task.prompt=a b", "++limit=5"]
    run.info["command"] = None
    assert varied(run) == []


@pytest.mark.parametrize(
    ("module", "late"), [("records.follower", ["pandas", "pyarrow"]), ("lifecycle", ["transformers"])]
)
def test_a_run_is_seen_before_what_takes_seconds_is_imported(module: str, late: list[str], tmp_path: Path) -> None:
    code = f"import sys, calm_bench.{module}; sys.exit(not sys.modules.keys().isdisjoint({late}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=cli.environment()).returncode == 0


def test_a_follower_of_a_run_that_never_begins_ends() -> None:
    follower = start_follower()
    assert follower.communicate(timeout=60) == (b"", None)
    assert follower.returncode == 0
