"""The paper's ablations, as the commands that make them."""

import json
from pathlib import Path

import pytest

from calm_bench.records.rules import named
from calm_bench.records.store import Run
from tests import cli

pytestmark = pytest.mark.slow


def runs_of(experiment: str, folder: Path, *arguments: str) -> list[Run]:
    done = cli.run(f"+experiment={experiment}", "limit=4", *cli.QUICK, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.removeprefix("run: ") for line in done.stdout.splitlines() if line.startswith("run: ")]
    runs = [Run.open(folder / line) for line in lines]
    several = len(runs) > 1
    assert done.stdout.splitlines().count(runs[0].info["config"]["question"]) == 1  # of all of them together
    assert (done.stdout.splitlines()[-1] == "drawn together: python -m analysis runs --out runs/figures") == several
    return runs


def test_state_copying_is_a_run_for_each_kind(tmp_path: Path, tiny_checkpoint: Path) -> None:
    runs = runs_of("state_copying", tmp_path, f"model.path={tiny_checkpoint}", "task.max_new_tokens=8")
    kinds = [run.info["config"]["state_copying"] for run in runs]
    assert kinds == ["exit_state", "first_state", "projected_kv", "true_state"]
    rows = named(runs[3].read("generations"), runs[3].read("rules")).query("measure in ['oracle', 'full']")
    texts = rows.pivot(index="example", columns="measure", values="prediction")
    assert (texts["oracle"] == texts["full"]).all()


def test_decay_is_a_run_for_each_temperature(tmp_path: Path, tiny_checkpoint: Path) -> None:
    grid = "threshold.grid=[0.5,0.2]"
    runs = runs_of("decay", tmp_path, f"model.path={tiny_checkpoint}", "task.max_new_tokens=8", grid)
    decays = [set(run.read("rules")["decay"]) - {"none"} for run in runs]
    assert decays == [{f"additive(tau={tau})"} for tau in (0, 1, 4, 10)]


def test_oracle(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (run,) = runs_of("oracle", tmp_path, f"model.path={tiny_checkpoint}", "task.max_new_tokens=8")
    assert {"oracle", "static", "full", "softmax"} == set(named(run.read("frontier"), run.read("rules"))["measure"])
    assert json.loads((run.path / "run.json").read_text())["status"] == "finished"


def test_perturbation(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (run,) = runs_of("perturbation", tmp_path, f"model.path={tiny_checkpoint}", "task.max_new_tokens=8")
    rows = run.read("perturbation")
    assert set(rows["kind"]) == {"sampled", "layer"}
    assert set(rows["step"]) <= {0, 1, 2, 4}
    assert (rows["n"] <= 4).all()


def test_classifier_training_is_a_run_for_each_objective(tmp_path: Path, tiny_checkpoint: Path) -> None:
    few = ["training.classifier_steps=2", "training.batch_size=4", "task.max_new_tokens=8"]
    runs = runs_of("classifier_training", tmp_path, f"model.path={tiny_checkpoint}", *few)
    objectives = [run.info["config"]["training"]["classifier_objective"] for run in runs]
    assert objectives == ["independent", "geometric"]
    assert len({run.info["summary"]["model_identity"] for run in runs}) == 2
    for run in runs:
        assert run.read("classifier_f1")["layer"].tolist() == [1, 2]
        objective = run.info["config"]["training"]["classifier_objective"]
        words = ["+experiment=classifier_training", f"training.classifier_objective={objective}", "limit=4"]
        assert set(words) <= set(run.info["command"].removeprefix("python -m calm_bench ").split())
