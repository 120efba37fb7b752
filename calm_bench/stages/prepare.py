"""Stage 1: the model, taken as it is or trained first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from calm_bench.config import Config, TrainingConfig, build
from calm_bench.decoding.loop import decode
from calm_bench.decoding.rule import Rule
from calm_bench.errors import InputError
from calm_bench.models.t5 import EarlyExitT5, from_scratch, load
from calm_bench.models.tokenizer import train_tokenizer
from calm_bench.models.training import TrainingSettings, fine_tune, tokenized, train_exit_classifier
from calm_bench.records.logged import LAYERS_FILE
from calm_bench.records.stages import StageCache
from calm_bench.stages import identity
from calm_bench.tasks.task import Task


def prepare(config: Config, task: Task, training_task: Task, cache: StageCache, device: str) -> tuple[EarlyExitT5, str]:
    """The model that will be decoded, and its identity: a word that changes whenever its weights do.

    Trained models are kept: the same model, data and settings are trained once, and an interrupted training goes on
    from its last checkpoint.
    """
    if not config.training.trains:
        name = config.model.path or config.model.hub
        assert name is not None  # config.py has seen to it
        model = load(name, device, config.model.dtype)
        needing = [name for name, node in config.measure.items() if build(node).needs_classifier]
        if needing and model.classifier is None:
            raise InputError(
                f"measure: {needing[0]!r} needs an exit classifier, and {name} has none; "
                "train one (training.classifier_steps) or leave it out (measure=[softmax,state])"
            )
        return model, identity.of_model(name)
    if not training_task.has_split(config.training.split):
        place = training_task.path or training_task.hub
        raise InputError(
            f"training: task {training_task.name} has no {config.training.split} split at {place}; "
            "give a folder that has one with training.path=DIR, or take a fine-tuned model as it is with training=none "
            "model.path=DIR"
        )
    key = _training_key(config, training_task)
    with cache.hold("train", key) as folder:
        if not (folder / "model").is_dir():
            _train(config, training_task, folder, device)
        return load(str(folder / "model"), device, config.model.dtype), folder.name


def _training_key(config: Config, task: Task) -> dict[str, Any]:
    model = config.model
    start = identity.of_model(model.path) if model.path else model.hub or vars(model.scratch)
    settings = {name: value for name, value in vars(config.training).items() if name not in ("path", "workers")}
    return {
        "start": start,
        "task": identity.of_task(task, config.training.split, "validation"),
        "chosen_by": [task.quality.description, task.sample_seed],  # the best checkpoint, on a sample of validation
        "settings": settings,
        "seed": config.seed,
    }


def _train(config: Config, task: Task, folder: Path, device: str) -> None:
    """Both training stages; `folder`/model appears when everything is done."""
    torch.manual_seed(config.seed)
    rows = task.rows(config.training.split)
    name = config.model.path or config.model.hub
    if name is not None:
        model = load(name, device)
    else:
        scratch = {**vars(config.model.scratch)}
        tokenizer = train_tokenizer(_texts(rows), scratch.pop("vocab_size"))
        model = from_scratch(tokenizer, scratch, device)
    settings = _settings(config.training)
    pairs = tokenized(model, rows, task.max_source_tokens, task.max_new_tokens)
    if settings.steps:
        validation = task.examples("validation", settings.evaluate_examples)

        def score(model: EarlyExitT5) -> float:
            """Quality of the full model on the validation examples."""
            sources = model.tokenize([example.source for example in validation], task.max_source_tokens)
            generations = decode(model, sources, [Rule.full()], task.max_new_tokens, batch_size=256)
            predictions = model.detokenize(generations.token_ids[:, 0])
            return task.quality.aggregate(task.quality.statistics(predictions, [e.references for e in validation]))

        inputs = model.tokenize([example.source for example in validation], task.max_source_tokens)
        targets = model.tokenize([example.target for example in validation], task.max_new_tokens)
        held_out = [{"input_ids": ids, "labels": labels} for ids, labels in zip(inputs, targets, strict=True)]
        layers = fine_tune(
            model, pairs, held_out, settings, score=score, folder=folder / "checkpoints", seed=config.seed
        )
        layers.to_csv(folder / LAYERS_FILE, index=False)
    if settings.classifier_steps:
        train_exit_classifier(model, pairs, settings, folder=folder / "classifier", seed=config.seed)
    temporary = folder / "model.tmp"
    model.save(temporary, settings.stored_dtype)
    (temporary / "training.json").write_text(json.dumps(_training_key(config, task), indent=2) + "\n")
    temporary.rename(folder / "model")


def _settings(config: TrainingConfig) -> TrainingSettings:
    return TrainingSettings(**{name: value for name, value in vars(config).items() if name not in ("path", "split")})


def _texts(rows: Any, batch: int = 1000) -> Iterator[str]:
    """Sources and targets of all training rows."""
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        yield from part["source"]
        yield from part["target"]
