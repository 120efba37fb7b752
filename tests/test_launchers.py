"""Multiruns on several cores and through submitit, whose local executor stands in for SLURM."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from analysis.offline import read
from calm_bench.records.store import find
from tests import cli


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"]])
def test_a_launcher_trains_and_leaves_one_record_a_job_and_names_one_that_fails(
    launcher: list[str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Training is part of it: joblib's processes cannot start the ones that tokenise batches."""
    name, *settings = launcher
    training = ["training.split=validation", "training.steps=2", "training.classifier_steps=2", "training.workers=1"]
    training += ["training.mlp_classifier_steps=2", "training.mlp_classifier_sources=8"]
    training += ["training.batch_size=2", "training.evaluate_every=2", "training.evaluate_examples=4"]
    short = [f"model.path={tiny_checkpoint}", "limit=3", "task.max_new_tokens=6", "baselines=[]", *cli.QUICK]
    jobs = ["measure=softmax", "threshold.min_layer=1,4"]  # the model has three layers
    done = cli.run(
        f"hydra/launcher={name}", *settings, "-m", *jobs, *training, *short, "threshold.grid=[0.9]", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("calm-bench: a job of this multirun failed")
    runs = find(tmp_path / "runs")
    assert [(run.info["config"]["threshold"]["min_layer"], run.status) for run in runs] == [(1, "finished")]
    assert len(list(tmp_path.glob("runs/stages/train-*/model/model.safetensors"))) == 1


@pytest.mark.slow
def test_jobs_on_several_cores_close_their_records_when_they_are_ended(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """By SIGTERM; Ctrl-C ends jobs by the same handler (`calm_bench.signals`), and runs in tests/test_runs.py."""
    long = [f"model.path={tiny_checkpoint}", "limit=null", "task.max_new_tokens=24", "batch_size=8", *cli.QUICK]
    long += ["threshold.grid=[0.9]", "baselines=[]"]
    both = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-m", "measure=softmax,state", "tracking.mode=offline"]
    process = cli.start(*long, *both, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/stages/decode-*/00000"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    runs = find(tmp_path / "runs")
    assert [run.status for run in runs] == ["interrupted"] * 2
    assert [read(next(run.path.glob("wandb/*/run-*.wandb"))).exit_code for run in runs] == [255] * 2


def test_without_slurm_it_is_one_line(tmp_path: Path) -> None:
    if shutil.which("srun"):
        pytest.skip("this machine has SLURM")
    done = cli.run("hydra/launcher=slurm", "-m", "seed=0,1", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "srun" in done.stderr


def test_slurm_is_asked_for_a_gpu_and_a_time(tmp_path: Path) -> None:
    """The settings of conf/hydra/launcher/slurm.yaml are submitit's: it writes them into the job's script."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "srun").write_text("#!/bin/sh\n")
    (fake / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho no such partition >&2\nexit 1\n')
    for file in fake.iterdir():
        file.chmod(0o755)
    os.environ["PATH"], path = f"{fake}{os.pathsep}{os.environ['PATH']}", os.environ["PATH"]
    try:
        done = cli.run("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "-m", "seed=0,1", cwd=tmp_path)
    finally:
        os.environ["PATH"] = path
    assert done.returncode != 0
    lines = (tmp_path / "script").read_text().splitlines()
    for wanted in ("--partition=gpu", "--gpus-per-node=1", "--time=480", "--cpus-per-task=8", "--array=0-1%2"):
        assert f"#SBATCH {wanted}" in lines, json.dumps(lines)
