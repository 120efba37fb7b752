"""What counts as the same model, the same data and the same run: contents, not names."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from calm_bench.build import build
from calm_bench.stages import identity
from calm_bench.stages.identity import run_id
from calm_bench.tasks.files import BUNDLED
from calm_bench.tasks.task import Task
from tests.composed import composed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = shutil.copytree(BUNDLED / "data" / "tatoeba_enfr", tmp_path / "data")
    shutil.copy(folder / "validation.parquet", folder / "train.parquet")
    return folder


def test_a_checkpoint_is_its_weights_configuration_and_tokenizer(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    known = {identity.of_model(str(tiny_checkpoint))}
    assert identity.of_model(str(copy)) in known
    for name in ("model.safetensors", "exit_classifier.safetensors", "config.json", "tokenizer.json"):
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        changed = identity.of_model(str(copy))
        assert changed not in known
        known.add(changed)
    assert identity.of_model("google/t5-v1_1-small") == "google/t5-v1_1-small"


def test_only_the_splits_that_are_read_count(data: Path) -> None:
    task = build(composed(f"task.path={data}").task, Task)
    test, train = identity.of_task(task, "test"), identity.of_task(task, "train", "validation")
    rows = pd.read_parquet(data / "train.parquet")
    rows[:-1].to_parquet(data / "train.parquet")
    assert identity.of_task(task, "test") == test
    assert identity.of_task(task, "train", "validation") != train


def test_a_run_is_its_configuration_and_files(data: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    here = run_id(composed(f"task.path={data}", f"model.path={model}"))
    assert run_id(composed(f"task.path={data}", f"model.path={model}", "runs_dir=elsewhere", "force=true")) == here
    assert run_id(composed(f"task.path={data}", f"model.path={tiny_checkpoint}")) == here
    moved = data.rename(tmp_path / "moved")
    assert run_id(composed(f"task.path={moved}", f"model.path={model}")) == here
    assert run_id(composed(f"task.path={moved}", f"model.path={model}", "seed=1")) != here
    (model / "model.safetensors").write_bytes(b"trained again")
    assert run_id(composed(f"task.path={moved}", f"model.path={model}")) != here
    run_id(composed("task.path=nowhere", "model.path=nowhere"))  # refused later, in words
