"""Stage 1: the model, taken as it is or trained first."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calm_bench import processes
from calm_bench.build import build
from calm_bench.config import Config
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure
from calm_bench.models import curves, from_scratch, load
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.pairs import TokenizedPairs
from calm_bench.models.tokenizer import train_tokenizer
from calm_bench.models.training import fine_tune, train_exit_classifier
from calm_bench.records.logged import LAYERS_FILE, LOSSES_FILE
from calm_bench.records.stage_cache import StageCache
from calm_bench.stages import identity
from calm_bench.stages.leakage import certified_sources
from calm_bench.stages.training_data import require_splits, texts, training_data, validation_is_free
from calm_bench.tasks.task import Task


def prepare(
    config: Config, task: Task, training_task: Task, cache: StageCache, device: str
) -> tuple[EarlyExitModel, str]:
    """The model that will be decoded, and its identity: a word that changes whenever its weights do.

    Trained models are kept: the same model, data and settings are trained once, and an interrupted training goes on
    from its last checkpoint.
    """
    if not config.training.trains:
        name = config.model.path or config.model.hub
        assert name is not None  # config.py has seen to it
        model = load(name, device)
        for measure in (build(node, Measure) for node in config.measure.values()):
            if measure.learned is not None and measure.learned not in model.learned:
                raise InputError(
                    f"measure: {measure.name!r} needs learned weights ({measure.learned}), and {name} has none; "
                    "train them (training.classifier_steps) or leave it out (measure=[softmax,state])"
                )
        return model, identity.of_model(name)
    require_splits(training_task, config.training.split)
    left_out = _certified(config, task, training_task, cache)
    key = _training_key(config, training_task, left_out)
    with cache.hold_together("train", key) as folder:
        if not (folder / "model").is_dir():
            _train(config, training_task, folder, device, key, left_out)
        return load(str(folder / "model"), device), folder.name


def _certified(config: Config, task: Task, training_task: Task, cache: StageCache) -> frozenset[str]:
    """Sources that training must leave out, because they are certified."""
    split = config.training.split
    found = certified_sources(f"training.split={split}", training_task, split, task, cache)
    if validation_is_free(training_task, split):
        found |= certified_sources("the validation split of training", training_task, "validation", task, cache)
    return found


def _training_key(config: Config, task: Task, left_out: frozenset[str]) -> dict[str, Any]:
    model = config.model
    start = identity.of_model(model.path) if model.path else model.hub or vars(model.scratch)
    settings = {name: value for name, value in vars(config.training).items() if name not in ("path", "workers")}
    return {
        "start": start,
        "task": identity.of_task(task, config.training.split, "validation"),
        # The best checkpoint is chosen by this quality, on this sample of the validation or the training split.
        "chosen_by": [task.quality.description, task.sample_seed, validation_is_free(task, config.training.split)],
        "left_out": sorted(hashlib.sha256(source.encode()).hexdigest()[:16] for source in left_out),
        "settings": settings,
        "seed": config.seed,
    }


def _train(
    config: Config, task: Task, folder: Path, device: str, key: dict[str, Any], left_out: frozenset[str]
) -> None:
    """Both training stages; `folder`/model appears when everything is done, and checkpoints are gone then."""
    torch.manual_seed(config.seed)
    settings = config.training
    rows, validation = training_data(task, config.training.split, settings.evaluate_examples, left_out)
    name = config.model.path or config.model.hub
    if name is not None:
        model = load(name, device)
    else:
        scratch = {**vars(config.model.scratch)}
        tokenizer = train_tokenizer(texts(rows), scratch.pop("vocab_size"))
        model = from_scratch(tokenizer, scratch, device)
    pairs = TokenizedPairs(model, rows, task.max_source_tokens, task.max_new_tokens)
    sources = model.tokenize([example.source for example in validation], task.max_source_tokens)
    targets = model.tokenize([example.target for example in validation], task.max_new_tokens)
    held_out = [{"input_ids": ids, "labels": labels} for ids, labels in zip(sources, targets, strict=True)]
    checkpoints, seed = folder / "checkpoints", config.seed
    losses = []
    if settings.steps:

        def score(model: EarlyExitModel) -> float:
            """Quality of the full model on the validation examples."""
            generations = Decoder(model).decode(sources, [Rule.full()], task.max_new_tokens, batch_size=256)
            texts = model.detokenize(generations.token_ids[:, 0])
            predictions = [task.as_written(text, example) for text, example in zip(texts, validation, strict=True)]
            return task.quality.aggregate(task.quality.statistics(predictions, [e.references for e in validation]))

        history = fine_tune(model, pairs, held_out, settings, score=score, folder=checkpoints / "model", seed=seed)
        losses.append(curves.losses("model", history))
        _write(curves.by_layer(history, model.depth), folder / LAYERS_FILE)
    if settings.classifier_steps:
        place = checkpoints / "classifier"
        history = train_exit_classifier(model, pairs, held_out, settings, folder=place, seed=seed)
        losses.append(curves.losses("classifier", history))
    _write(pd.concat(losses), folder / LOSSES_FILE)
    if processes.is_first():
        temporary = folder / "model.tmp"
        model.save(temporary, settings.stored_dtype)
        (temporary / "training.json").write_text(json.dumps(key, indent=2) + "\n")
        temporary.rename(folder / "model")
        shutil.rmtree(checkpoints)
    processes.wait()


def _write(curve: pd.DataFrame, file: Path) -> None:
    if processes.is_first():
        curve.to_csv(file, index=False)
