"""Memory that ends in any stage is a line that names the option which takes less."""

from pathlib import Path

import pytest
import torch

from calm_bench import lifecycle
from calm_bench.errors import InputError
from tests import cli
from tests.composed import composed

QUICK = [
    "limit=10", "task.max_new_tokens=4", "baselines=[]", "measure=[softmax]", "calibration.trials=0",
    "figures=false", "tracking=disabled", "device=cpu",
]  # fmt: skip
TRAINED = [
    "training=tatoeba", "training.split=validation", "training.batch_size=4", "training.evaluate_examples=2",
    "training.workers=0", "training.bf16=false",
]  # fmt: skip
SAYS = [  # where memory ends, the options, what the line begins with
    ("decoding.decoder.Decoder.decode", ["batch_size=256"], "batch_size=256: so many examples under 28 rules are"),
    ("models.trainers.MultiExitTrainer.compute_loss", TRAINED, "training.batch_size=4: so many rows are"),
    ("stages.prepare.full_texts", [*TRAINED, "training.steps=1"], "batch_size=32: 256 texts of the full model at once"),
    (
        "models.trainers.ClassifierTrainer.compute_loss",
        [*TRAINED, "training.steps=0", "training.classifier_steps=1"],
        "training.batch_size=4: so many rows are",
    ),
    (
        "models.trainers.LearnsWhereToStop.forward",
        [*TRAINED, "training.steps=0", "training.classifier_steps=0", "training.mlp_classifier_sources=2"],
        "training.mlp_classifier_batch_size=8192 tokens at once, or training.mlp_classifier_gigabytes=4.0 beside",
    ),
    (
        "stages.grids.full_texts",
        ["threshold=quantiles", "threshold.quantiles.split=validation"],
        "threshold.quantiles: ",
    ),
    ("probes.Reliability.answer", [], "probes: reliability is"),
    ("stages.timing.time_arms", ["timing.examples=1"], "timing: "),
    ("experiment.score_all", [], "device=cpu: the run is"),
]


@pytest.mark.parametrize(("where", "options", "line"), SAYS, ids=[where for where, _, _ in SAYS])
def test_memory_that_ends_is_a_line(
    where: str, options: list[str], line: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.96 GiB.")

    monkeypatch.setattr(f"calm_bench.{where}", full)
    config = composed(*QUICK, *options, f"model.path={tiny_checkpoint}", f"runs_dir={tmp_path}")
    with pytest.raises(InputError) as raised:
        lifecycle.run(config)
    said = str(raised.value)
    assert said.startswith(line)
    assert said.count("more than memory holds; ") == said.count("CUDA out of memory. Tried to allocate 1.96 GiB.") == 1
    assert not list(tmp_path.glob("demo-*"))


def test_so_does_that_of_the_machine_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calm_bench.decoding.decoder.Decoder.decode", lambda *_, **__: torch.empty(1 << 50))
    with pytest.raises(InputError, match=r"^batch_size=32: .*; take fewer .*: .* can't allocate memory"):
        lifecycle.run(composed(*QUICK, f"runs_dir={tmp_path}"))


def test_a_job_that_fails_leaves_its_memory_to_the_next(tiny_checkpoint: Path, tmp_path: Path) -> None:
    code = """
import gc, sys, torch
from calm_bench.command import main
from calm_bench.decoding.decoder import Decoder
from calm_bench.models import EarlyExitT5

def full(*_, **__):
    print("models:", sum(isinstance(one, EarlyExitT5) for one in gc.get_objects()))
    raise torch.OutOfMemoryError("CUDA out of memory.")

Decoder.decode = full
main()
"""
    words = [*QUICK, f"model.path={tiny_checkpoint}", f"runs_dir={tmp_path}", "batch_size=1,2,3", "-m"]
    process = cli.python("-c", code, *words, cwd=tmp_path, env=cli.environment())
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert out.count("models: ") == out.count("models: 1\n") == 3
    assert err.count("more than memory holds") == 3
