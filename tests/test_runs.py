"""Whole runs as real processes: what they leave, and what interrupting them costs."""

import json
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from analysis.offline import read
from calm_bench.records.store import Run, find
from tests import cli

pytestmark = pytest.mark.slow
TABLES = ["generations", "tokens", "certificates", "frontier"]


@pytest.fixture(scope="module")
def command(tiny_checkpoint: Path) -> list[str]:
    return [f"model.path={tiny_checkpoint}", "limit=260", "task.max_new_tokens=12", *cli.QUICK]  # in three chunks


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _finished(cli.run(*command, cwd=tmp_path_factory.mktemp("undisturbed")))


def test_the_record_is_complete(undisturbed: Run) -> None:
    assert undisturbed.status == "finished"
    frontier = undisturbed.read("frontier")
    # full, oracle, every static layer, a speculative rule, and each measure at 27 thresholds
    assert len(frontier) == 1 + 1 + 3 + 1 + 27 * len(cli.MEASURES)
    assert len(undisturbed.read("generations")) == 260 * len(frontier)
    certificates = undisturbed.read("certificates")
    certified = len(cli.MEASURES) + 1  # and the static baseline
    assert len(certificates) == 4 * certified * (1 + 5)
    assert len(undisturbed.info["promises"]) == 4 * certified
    assert undisturbed.info["peak_memory_mb"] < 3000
    assert not (undisturbed.path / "figures").exists()  # it was asked for none


def test_losses_follow_from_what_is_stored(undisturbed: Run) -> None:
    rows = undisturbed.read("generations")
    full = rows[rows["rule"] == 0].set_index("example")
    assert (full["textual_loss"] == 0).all()
    assert (full["risk_loss"] == 0).all()
    same_text = rows["prediction"].eq(rows["example"].map(full["prediction"]))
    assert (rows.loc[same_text, "textual_loss"] == 0).all()
    risk = (rows["example"].map(full["score"]) - rows["score"]).clip(lower=0)
    pd.testing.assert_series_equal(rows["risk_loss"], risk, check_names=False)


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_goes_on(
    command: list[str], undisturbed: Run, tmp_path: Path, signal_number: int, status: int
) -> None:
    process = cli.start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/stages/decode-*/00000")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.strip().splitlines()[-1].startswith("calm-bench: ")
    (record,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    assert not list(tmp_path.glob("runs/stages/decode-*/00002"))  # it was interrupted before its end

    resumed = _finished(cli.run(*command, cwd=tmp_path))
    for table in TABLES:
        pd.testing.assert_frame_equal(resumed.read(table), undisturbed.read(table))
    again = cli.run(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert "finished before" in again.stderr
    assert again.stdout.splitlines()[-1] == f"run: {Path('runs') / undisturbed.run_id}"


def test_a_multirun_leaves_one_record_a_job_and_goes_on_after_one_that_fails(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    short = [f"model.path={tiny_checkpoint}", "limit=3", "task.max_new_tokens=6", "baselines=[]", *cli.QUICK]
    wrong = tmp_path / "nan"
    shutil.copytree(tiny_checkpoint, wrong)
    weights = load_file(wrong / "model.safetensors")
    save_file({name: tensor * 1e30 for name, tensor in weights.items()}, wrong / "model.safetensors", {"format": "pt"})
    done = cli.run(
        "-m", f"model.path={tiny_checkpoint},{wrong}", "seed=0,1", "measure=[softmax]", *short[1:],
        "tracking.mode=offline", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("calm-bench: a job of this multirun failed")
    assert "Traceback" not in done.stderr
    runs = find(tmp_path / "runs")
    assert [run.status for run in runs] == ["finished", "finished", "failed", "failed"]
    codes = []
    for run in runs:
        (file,) = run.path.glob("wandb/offline-run-*/run-*.wandb")
        codes.append(read(file).exit_code)
    assert codes == [0, 0, 1, 1]


def _finished(done: cli.Done) -> Run:
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("run: ")
    return Run.open(done.cwd / last.removeprefix("run: "))
