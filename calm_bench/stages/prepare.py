"""Stage 1: the model, taken as it is or trained first."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calm_bench import processes
from calm_bench.build import build
from calm_bench.config import Config, TrainingConfig
from calm_bench.decoding.decoder import Decoder
from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure
from calm_bench.memory import enough_memory
from calm_bench.models import curves, from_scratch, load
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.pairs import Pair, TokenizedPairs
from calm_bench.models.tokenizer import train_tokenizer
from calm_bench.models.training import fine_tune, train_exit_classifier, train_mlp_classifier
from calm_bench.probes.subject import full_texts
from calm_bench.progress import each, waiting
from calm_bench.records import seal
from calm_bench.records.logged import LAYERS_FILE, LOSSES_FILE
from calm_bench.records.stage_cache import StageCache
from calm_bench.stages import identity
from calm_bench.stages.leakage import TRAINING_FILE, batches, certified_sources, refuse_trained_on, trained_on
from calm_bench.stages.training_data import (
    measure_sources,
    require_splits,
    training_data,
    validation_is_free,
    vocabulary_texts,
)
from calm_bench.tasks.task import Task

log = logging.getLogger(__name__)

TOGETHER = 8  # texts under one rule, for each that is decoded under many


def prepare(
    config: Config, task: Task, training_task: Task, cache: StageCache, device: str
) -> tuple[EarlyExitModel, str]:
    """The model that will be decoded, and its identity: a word that changes whenever its weights do.

    Trained models are kept: the same model, data and settings are trained once, and an interrupted training goes on
    from its last checkpoint.
    """
    refuse_trained_on(config.model.path, task)
    if not config.training.trains:
        name = config.model.path or config.model.hub
        assert name is not None  # config.py has seen to it
        with waiting(f"loading {name}"):
            model = load(name, device)
        _refuse_missing(config, model, name)
        return model, identity.of_model(name)
    with waiting("comparing the training data with what is certified"):
        require_splits(training_task, config.training.split)
        left_out = _certified(config, task, training_task, cache)
    key = _training_key(config, training_task, left_out)
    with cache.hold_together("train", key) as folder:
        if not _is_trained(folder / "model"):
            _train(config, training_task, folder, device, key, left_out)
        model = load(str(folder / "model"), device)
        _refuse_missing(config, model, str(folder / "model"))
        return model, folder.name


def _is_trained(model: Path) -> bool:
    """Whether a trained model is kept there. One that is not as it was written is taken away."""
    fault = processes.agree(seal.fault(model) if processes.is_first() and model.is_dir() else None)
    if fault and processes.is_first():
        log.warning("%s is trained again: %s", model, fault)
        shutil.rmtree(model)
    processes.wait()
    return model.is_dir()


def _refuse_missing(config: Config, model: EarlyExitModel, name: str) -> None:
    """Raises InputError where a measure does not find its learned weights in the model of that name."""
    for measure in (build(node, Measure) for node in config.measure.values()):
        if missing := measure.missing(model.learned):
            raise InputError(
                f"measure: {measure.name!r} {missing}, in {name}; train them (training.{measure.learned}_steps) or "
                "leave it out (measure=[softmax,state])"
            )


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
    """All training stages; `folder`/model appears when everything is done, and checkpoints are gone then."""
    torch.manual_seed(config.seed)
    settings = config.training
    with waiting("reading the training data"):
        rows, validation = training_data(task, config.training.split, settings.evaluate_examples, left_out)
    name = config.model.path or config.model.hub
    if name is not None:
        with waiting(f"loading {name}"):
            model = load(name, device)
    else:
        scratch = {**vars(config.model.scratch)}
        with waiting("training the tokenizer"):
            tokenizer = train_tokenizer(vocabulary_texts(task, rows), scratch.pop("vocab_size"))
        model = from_scratch(tokenizer, scratch, device)
    lengths = {"source": task.max_source_tokens, "target": task.max_new_tokens}
    counted = each(batches(rows), len(rows), "tokenise", "pair", lambda batch: len(batch["source"]))
    pairs = TokenizedPairs.kept(folder / "pairs", model, counted, lengths)
    sources = model.tokenize([example.source for example in validation], task.max_source_tokens)
    targets = model.tokenize([example.target for example in validation], task.max_new_tokens)
    held_out = [{"input_ids": ids, "labels": labels} for ids, labels in zip(sources, targets, strict=True)]
    checkpoints, seed = folder / "checkpoints", config.seed
    losses = []
    if settings.steps:

        def score(model: EarlyExitModel) -> float:
            """Quality of the full model on the validation examples."""
            texts = model.detokenize(_own_texts(model, sources, task.max_new_tokens, config.batch_size))
            predictions = [task.as_written(text, example) for text, example in zip(texts, validation, strict=True)]
            return task.quality.aggregate(task.quality.statistics(predictions, [e.references for e in validation]))

        model.learned.clear()  # they know another model
        place = checkpoints / "model"
        with _enough_for_rows(settings):
            history = fine_tune(model, pairs, held_out, settings, score=score, folder=place, seed=seed)
        losses.append(curves.losses("model", history))
        _write(curves.by_layer(history, model.depth), folder / LAYERS_FILE)
    if settings.classifier_steps:
        place = checkpoints / "classifier"
        with _enough_for_rows(settings):
            history = train_exit_classifier(model, pairs, held_out, settings, folder=place, seed=seed)
        losses.append(curves.losses("classifier", history))
    if settings.mlp_classifier_steps:
        place = checkpoints / "mlp_classifier"
        chosen = measure_sources(task, settings.split, rows, settings.mlp_classifier_sources)
        own = _own_pairs(model, model.tokenize(chosen, task.max_source_tokens), task.max_new_tokens, config.batch_size)
        checked = _own_pairs(model, sources, task.max_new_tokens, config.batch_size)
        with enough_memory(
            f"training.mlp_classifier_batch_size={settings.mlp_classifier_batch_size} tokens at once, or "
            f"training.mlp_classifier_gigabytes={settings.mlp_classifier_gigabytes} beside them, are",
            "take less of the first on a GPU, of the second on the machine itself",
        ):
            history = train_mlp_classifier(model, own, checked, settings, folder=place, seed=seed)
        losses.append(curves.losses("mlp_classifier", history))
    _write(pd.concat(losses), folder / LOSSES_FILE)
    if processes.is_first():
        temporary = folder / "model.tmp"
        model.save(temporary, settings.stored_dtype)
        chose = ["validation"] if validation_is_free(task, settings.split) else []
        read = identity.of_splits(task, settings.split, *chose)
        about = {**key, "trained_on": [*trained_on(config.model.path), *read]}
        (temporary / TRAINING_FILE).write_text(json.dumps(about, indent=2) + "\n")
        seal.seal(temporary)
        temporary.rename(folder / "model")
        for place in (checkpoints, folder / "pairs"):
            shutil.rmtree(place)
    processes.wait()


def _enough_for_rows(settings: TrainingConfig) -> AbstractContextManager[None]:
    return enough_memory(
        f"training.batch_size={settings.batch_size}: so many rows are",
        "take fewer; training.gradient_accumulation keeps as many in a step",
    )


def _own_pairs(model: EarlyExitModel, sources: list[list[int]], max_new_tokens: int, batch_size: int) -> list[Pair]:
    """Each source with the full model's own text as its target."""
    texts = _own_texts(model, sources, max_new_tokens, batch_size, "the model's own texts")
    return [{"input_ids": source, "labels": text} for source, text in zip(sources, texts, strict=True)]


def _own_texts(
    model: EarlyExitModel, sources: list[list[int]], max_new_tokens: int, batch_size: int, title: str = ""
) -> list[list[int]]:
    """The full model's text for each source. With a title it is shown how far along it is."""
    together = TOGETHER * batch_size
    with enough_memory(
        f"batch_size={batch_size}: {together} texts of the full model at once are",
        "take fewer (no result depends on it)",
    ):
        return full_texts(Decoder(model), sources, max_new_tokens, together, title)


def _write(curve: pd.DataFrame, file: Path) -> None:
    if processes.is_first():
        curve.to_csv(file, index=False)
