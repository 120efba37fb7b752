"""A training of seconds, by itself or as one of several processes: `torchrun -m tests.models.small_training FOLDER`."""

import dataclasses
import sys
from pathlib import Path

import torch
from transformers import ByT5Tokenizer

from calm_bench.config import TrainingConfig
from calm_bench.models import EarlyExitT5
from calm_bench.models.curves import History
from calm_bench.models.trainers import Score
from calm_bench.models.training import fine_tune, train_exit_classifier
from tests.models_for_tests import random_sources, random_t5

Rows = list[dict[str, list[int]]]

SETTINGS = TrainingConfig(
    steps=6,
    batch_size=4,
    gradient_accumulation=1,
    optimizer="adamw",
    learning_rate=1e-2,
    schedule="linear",
    warmup_steps=1,
    weight_decay=0.0,
    scale_parameter=True,
    max_grad_norm=1.0,
    loss_weights="index",
    exit_simulation=0.3,
    bf16=False,
    compile=False,
    evaluate_every=2,
    evaluate_examples=4,
    classifier_steps=3,
    classifier_learning_rate=1e-2,
    classifier_objective="independent",
    classifier_balanced=False,
    mlp_classifier_steps=4,
    mlp_classifier_learning_rate=1e-2,
    mlp_classifier_batch_size=64,
    mlp_classifier_gigabytes=1.0,
    mlp_classifier_hidden=8,
    mlp_classifier_sources=40,
    stored_dtype="float32",
    workers=0,
)


def model_and_rows(dropout: float = 0.1) -> tuple[EarlyExitT5, Rows]:
    model = random_t5(depth=3, dropout=dropout)
    model.tokenizer = ByT5Tokenizer()  # for its padding
    rows = [{"input_ids": ids, "labels": ids[::-1]} for ids in random_sources(0, 40)]
    return model, rows


def equally_long(count: int = 40) -> Rows:
    rows = [(ids * 12)[:9] for ids in random_sources(0, count)]
    return [{"input_ids": ids, "labels": ids[::-1]} for ids in rows]


def last_weight(model: EarlyExitT5) -> float:
    """Stands in for a validation score: any number that changes with training."""
    return model.backbone.lm_head.weight.sum().item()


def train(folder: Path, score: Score = last_weight, **changes: object) -> tuple[EarlyExitT5, History]:
    torch.manual_seed(0)
    model, rows = model_and_rows()
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return model, fine_tune(model, rows, rows[:8], settings, score=score, folder=folder, seed=0)


def train_evenly(folder: Path, **changes: object) -> EarlyExitT5:
    """Without chance, and with targets of one length: then batches may be cut as one likes."""
    model, rows = model_and_rows(dropout=0.0)[0], equally_long()
    changes = {"exit_simulation": 0.0, "steps": 3, "evaluate_every": 3, "optimizer": "adafactor", **changes}
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    fine_tune(model, rows, rows[:8], settings, score=last_weight, folder=folder, seed=0)
    return model


def train_classifier(model: EarlyExitT5, rows: Rows, validation: Rows, folder: Path, **changes: object) -> History:
    torch.manual_seed(0)
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return train_exit_classifier(model, rows, validation, settings, folder=folder, seed=0)


def weights(model: EarlyExitT5) -> dict[str, torch.Tensor]:
    return {
        **model.backbone.state_dict(),
        **{f"classifier.{k}": v for k, v in model.learned["classifier"].state_dict().items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    trained, _ = train(folder / "checkpoints")
    _, rows = model_and_rows()
    train_classifier(trained, rows[8:], rows[:8], folder / "classifier")
    even = train_evenly(folder / "even")
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save({"chance": weights(trained), "even": weights(even)}, folder / f"rank{rank}.pt")
