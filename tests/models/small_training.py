"""A training of seconds, by itself or as one of several processes: `torchrun -m tests.models.small_training FOLDER`."""

import dataclasses
import sys
from pathlib import Path

import pandas as pd
import torch
from transformers import ByT5Tokenizer

from calm_bench.models import EarlyExitT5
from calm_bench.models.training import Score, TrainingSettings, fine_tune, train_exit_classifier
from tests.models_for_tests import random_sources, random_t5

SETTINGS = TrainingSettings(
    steps=6,
    batch_size=4,
    gradient_accumulation=1,
    optimizer="adamw",
    learning_rate=1e-2,
    schedule="linear",
    warmup_steps=1,
    weight_decay=0.0,
    loss_weights="index",
    exit_simulation=0.3,
    bf16=False,
    evaluate_every=2,
    evaluate_examples=4,
    classifier_steps=3,
    classifier_learning_rate=1e-2,
    classifier_objective="independent",
    classifier_balanced=False,
    stored_dtype="float32",
    workers=0,
)


def model_and_rows() -> tuple[EarlyExitT5, list[dict[str, list[int]]]]:
    model = random_t5(depth=3)
    model.tokenizer = ByT5Tokenizer()  # for its padding
    rows = [{"input_ids": ids, "labels": ids[::-1]} for ids in random_sources(0, 40)]
    return model, rows


def last_weight(model: EarlyExitT5) -> float:
    """Stands in for a validation score: any number that changes with training."""
    return model.backbone.lm_head.weight.sum().item()


def train(folder: Path, score: Score = last_weight, **changes: object) -> tuple[EarlyExitT5, pd.DataFrame]:
    torch.manual_seed(0)
    model, rows = model_and_rows()
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    table = fine_tune(model, rows, rows[:8], settings, score=score, folder=folder, seed=0)  # type: ignore[arg-type]
    return model, table


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    trained, layers = train(folder / "checkpoints")
    train_exit_classifier(trained, model_and_rows()[1], SETTINGS, folder=folder / "classifier", seed=0)  # type: ignore[arg-type]
    assert trained.classifier is not None
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save(
        {**trained.backbone.state_dict(), "classifier": trained.classifier.linear.weight}, folder / f"rank{rank}.pt"
    )
    layers.to_csv(folder / f"rank{rank}.csv")
