"""Fine-tuning: what it learns, that it goes on from a checkpoint, and that processes share it."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from calm_bench.models import EarlyExitT5
from tests.models.small_training import last_weight, train

torch.set_num_threads(1)


def test_it_learns_and_keeps_a_row_for_each_layer(tmp_path: Path) -> None:
    _, table = train(tmp_path, steps=60, evaluate_every=30, exit_simulation=0.0)
    assert list(table.columns) == ["step", "score", "layer", "loss", "agreement"]
    assert table[["step", "layer"]].to_numpy().tolist() == [[s, i] for s in (30, 60) for i in (1, 2, 3)]
    first, last = (table[table["step"] == step]["loss"].to_numpy() for step in (30, 60))
    assert (last < first).all()
    assert (table[table["layer"] == 3]["agreement"] == 1).all()
    assert table["agreement"].between(0, 1).all()


def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, whole_table = train(tmp_path / "whole")
    asked = []

    def interrupted(model: EarlyExitT5) -> float:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return last_weight(model)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", interrupted)
    assert [path.name for path in (tmp_path / "broken").glob("checkpoint-*")] == ["checkpoint-2"]
    resumed_at = []

    def counted(model: EarlyExitT5) -> float:
        resumed_at.append(1)
        return last_weight(model)

    resumed, resumed_table = train(tmp_path / "broken", counted)
    assert len(resumed_at) == 2  # steps 4 and 6: step 2 was not done again
    pd.testing.assert_frame_equal(resumed_table, whole_table)
    for name, value in whole.backbone.state_dict().items():
        torch.testing.assert_close(resumed.backbone.state_dict()[name], value)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """torchrun, nothing else: both end with the same weights, and the first alone has written checkpoints."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29571"]
    done = subprocess.run(
        [sys.executable, *command, "-m", "tests.models.small_training", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)
    alone, _ = train(tmp_path / "alone")
    assert any(not torch.equal(first[name], value) for name, value in alone.backbone.state_dict().items())
    assert len(list((tmp_path / "checkpoints").glob("checkpoint-*"))) >= 1
