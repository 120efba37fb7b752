"""Training from the command line: killed in any stage it goes on to the same end, and torchrun shares it."""

import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from calm_bench.records.store import Run
from tests import cli, several

pytestmark = pytest.mark.slow
FEW = ["limit=20", "task.max_new_tokens=8", "measure=[classifier]", "threshold.grid=[0.9]", "baselines=[]", "probes=[]"]
TRAIN = [
    "training=tatoeba", "training.split=validation", "training.batch_size=8", "training.steps=12",
    "training.classifier_steps=12", "training.mlp_classifier_steps=40", "training.mlp_classifier_sources=20",
    "training.evaluate_every=2", "training.evaluate_examples=4", "training.workers=0",
    "training.bf16=false", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def command(tiny_checkpoint: Path) -> list[str]:
    return [f"model.path={tiny_checkpoint}", *FEW, *TRAIN, *cli.QUICK]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = cli.run(*command, cwd=tmp_path_factory.mktemp("undisturbed"))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.cwd


def trained(folder: Path) -> Path:
    return next(folder.glob("runs/stages/train-*"))


@pytest.mark.parametrize("stage", ["model", "classifier", "mlp_classifier/prediction"])
def test_killed_in_any_stage_it_goes_on_to_the_same_end(
    stage: str, command: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    process = cli.start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob(f"runs/stages/train-*/checkpoints/{stage}/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (trained(tmp_path) / "model").exists()
    done = cli.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("fine-tune, step") == (5 if stage == "model" else 0)  # of six
    for file in ("training_loss.csv", "validation_by_layer.csv"):
        pd.testing.assert_frame_equal(
            *(pd.read_csv(trained(folder) / file) for folder in (tmp_path, undisturbed)), rtol=1e-4
        )
    weights = [load_file(trained(folder) / "model/mlp_classifier.safetensors") for folder in (tmp_path, undisturbed)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
    ours, theirs = (Run.open(next(folder.glob("runs/demo-*"))) for folder in (tmp_path, undisturbed))
    pd.testing.assert_frame_equal(ours.read("generations"), theirs.read("generations"), rtol=1e-4)


def test_a_model_in_which_a_bit_has_flipped_is_trained_again(
    command: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained(undisturbed), tmp_path / "runs" / "stages" / trained(undisturbed).name)
    weights = trained(tmp_path) / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    done = cli.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "is trained again: model.safetensors is not the file that was written" in done.stderr
    assert weights.read_bytes() == (trained(undisturbed) / "model" / "model.safetensors").read_bytes()
    again = cli.run(*command, cwd=tmp_path)
    assert "trained again" not in again.stderr


def test_what_trained_a_model_is_not_certified_with_it(command: list[str], undisturbed: Path, tmp_path: Path) -> None:
    """`training.split=validation` trained; the same data are refused later, the others are not."""
    model = f"model.path={trained(undisturbed) / 'model'}"
    later = [model, *FEW, *cli.QUICK]
    done = cli.run(*later, "task.split=validation", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "training.json says that task.split=validation trained or chose it" in done.stderr.splitlines()[-1]
    assert cli.run(*later, cwd=tmp_path).returncode == 0


def test_two_processes_train_from_the_command_line(command: list[str], undisturbed: Path, tmp_path: Path) -> None:
    statuses, out, err = several.run(2, "-m", "calm_bench", *command, cwd=tmp_path)
    assert statuses == [0, 0], err[-3000:]
    assert [err.count(f"{stage}, step 12 of 12") for stage in ("fine-tune", "exit classifier")] == [1, 1]
    assert out.count("run: ") == 1
    files = [sorted(path.name for path in trained(folder).iterdir()) for folder in (tmp_path, undisturbed)]
    assert files[0] == files[1]
    losses = [pd.read_csv(trained(folder) / "training_loss.csv") for folder in (tmp_path, undisturbed)]
    assert losses[0]["step"].equals(losses[1]["step"])
    assert not losses[0]["loss"].equals(losses[1]["loss"])  # a step of two processes reads twice as many pairs
