"""One run by several processes, as torchrun starts them: the record of one process, and nothing said twice."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from calm_bench import processes
from calm_bench.records.store import Run
from tests import cli, several

pytestmark = pytest.mark.slow
COMMAND = [
    "limit=300", "task.max_new_tokens=8", "measure=[softmax,state]", "threshold.grid=[0.9,0.5]", "batch_size=16",
    "baselines=[oracle]", "device=cpu", "calibration.trials=5", "timing.examples=2", "tracking=disabled",
    "figures=false",
]  # fmt: skip


def torchrun(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """`torchrun --nproc_per_node=2 -m calm_bench ARGUMENTS`, begun."""
    words = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={several.free_port()}"]
    return cli.cold(*words, "-m", "calm_bench", *arguments, cwd=cwd, env=cli.environment())


@pytest.fixture(scope="module")
def alone(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    done = cli.run(f"model.path={tiny_checkpoint}", *COMMAND, cwd=tmp_path_factory.mktemp("alone"))
    assert done.returncode == 0, done.stderr
    return Run.open(next(done.cwd.glob("runs/demo-*")))


def test_several_processes_leave_the_record_of_one(alone: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    count = 3
    command = ["-m", "calm_bench", f"model.path={tiny_checkpoint}", *COMMAND]
    statuses, out, err = several.run(count, *command, cwd=tmp_path)
    assert statuses == [0] * count, err
    assert "%|" not in err  # a log has lines, of the first process alone
    assert [line for line in out.splitlines() if line.startswith("run: ")] == [f"run: runs/{alone.run_id}"]
    joint = Run.open(tmp_path / "runs" / alone.run_id)
    for name in ("generations", "tokens", "certificates", "reliability"):
        pd.testing.assert_frame_equal(joint.read(name), alone.read(name))
    assert len(list(tmp_path.glob("runs/stages/decode-*/0000[0-9]"))) == 3  # one of each process

    statuses, out, err = several.run(count, *command, cwd=tmp_path)
    assert statuses == [0] * count, err
    assert err.count("finished before") == 1
    assert out.count("run: ") == 1


def test_bad_input_stops_them_all(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = ["-m", "calm_bench", f"model.path={tiny_checkpoint}", "task.path=nowhere", "tracking=disabled"]
    statuses, _, err = several.run(2, *command, cwd=tmp_path)
    assert statuses == [2, 2]
    assert re.search(r"^calm-bench(, process 1)?: task\.path=nowhere must be a folder", err, re.MULTILINE), err
    assert not list(tmp_path.glob("runs/*"))


def test_an_interrupted_run_of_two_goes_on(alone: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = [f"model.path={tiny_checkpoint}", *COMMAND]
    both = torchrun(*command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/stages/decode-*/0000[0-9]")):
        assert both.poll() is None, both.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    both.send_signal(signal.SIGTERM)
    both.communicate(timeout=60)
    record = tmp_path / "runs" / alone.run_id / "run.json"
    assert json.loads(record.read_text())["status"] in ("interrupted", "finished")
    done = cli.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(Run.open(record.parent).read("tokens"), alone.read("tokens"))


def test_alone_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    processes.join("cpu")
    processes.wait()
    assert processes.agree("mine") == "mine"
    monkeypatch.setenv("WORLD_SIZE", "4")  # some schedulers set this for programs that know nothing of it
    assert processes.count() == 1
