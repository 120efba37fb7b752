"""The real `wandb sweep` and `wandb agent` with a sweep file of ours, against a server on loopback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from calm_bench.records.store import find
from tests import cli
from tests.wandb_stub import ENTITY, PROJECT, Stub, serving

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parents[1] / "sweeps" / "demo.yaml"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


# The command `wandb`; its agent asks the server, and looks after its trial, every half second instead of every five.
WANDB = "from wandb import wandb_agent; wandb_agent.Agent.POLL_INTERVAL = 0.5; from wandb.cli.cli import cli; cli()"


def wandb(stub: Stub, folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in cli.environment().items() if not name.startswith("WANDB_")}
    environment |= {**stub.environment(), "HOME": str(folder), "WANDB_ERROR_REPORTING": "false"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return subprocess.Popen(
        [sys.executable, "-c", WANDB, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_an_agent_that_is_killed_and_started_again_runs_every_trial(
    stub: Stub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    sweep = yaml.safe_load(DEMO.read_text())
    short = [f"model.path={tiny_checkpoint}", "limit=3", "task.max_new_tokens=6", "baselines=[]"]
    *command, arguments = sweep["command"]
    sweep["command"] = [
        *command,
        *short,
        "threshold.grid=[0.9,0.5]",
        "timing.examples=0",
        "calibration.trials=0",
        "figures=false",
        arguments,
    ]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sweep))
    out, _ = wandb(stub, tmp_path, "sweep", "--project", PROJECT, "mine.yaml").communicate(timeout=60)
    assert f"wandb agent {ENTITY}/{PROJECT}/sweep1" in out
    assert yaml.safe_load(stub.sweep)["parameters"] == sweep["parameters"]

    stub.trials = [
        {"measure": "[softmax]", "calibration.seed": 0},
        {"measure": "[softmax]", "calibration.seed": -1.5},  # no such seed: this trial fails
        {"measure": "[state]", "calibration.seed": 1, "tracking.mode": "offline"},
    ]
    agent = ["agent", f"{ENTITY}/{PROJECT}/sweep1"]
    first = wandb(stub, tmp_path, *agent)
    deadline = time.monotonic() + 300
    while "trial1" not in stub.runs:  # W&B hears of a trial while it runs
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "wandb/sweep-sweep1/config-trial1.yaml").exists()
    assert stub.handed_out == 1
    out, _ = wandb(stub, tmp_path, *agent).communicate(timeout=400)
    assert [line for line in out.splitlines() if line.startswith("calm-bench: ") and "-1.5" in line]

    def whole() -> bool:
        return any((a["artifactTypeName"], a["state"]) == ("exit-stats", "COMMITTED") for a in stub.artifacts.values())

    while not whole():  # the first trial has lost its agent, and runs to its end all the same
        assert time.monotonic() < deadline + 120
        time.sleep(0.05)
    runs = find(tmp_path / "runs")
    assert {(next(iter(run.info["config"]["measure"])), run.status) for run in runs} == {
        ("softmax", "finished"),
        ("state", "finished"),
    }
    assert {name: run.state for name, run in stub.runs.items()} == {"trial1": "finished"}
    online = stub.runs["trial1"]
    assert online.about["sweep"] == "sweep1"
    assert 1 <= online.summary["certified/softmax/textual_10pct/layers"] <= 3
    assert online.config["calibration"]["seed"] == 0  # ours, as the record has it
    files = {name for artifact in stub.artifacts.values() for name in artifact["files"]}
    assert {"run.json", "generations.parquet", "tokens.parquet", "frontier.parquet", "certificates.parquet"} <= files
    assert len(list(tmp_path.glob("wandb/offline-run-*-trial3/run-trial3.wandb"))) == 1
