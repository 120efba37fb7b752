"""A run from beginning to end: data, model, decode, score, certify, time, record. Each stage is a file in `stages/`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable
from typing import Any

import pandas as pd

from calm_bench.build import build
from calm_bench.config import Config
from calm_bench.cost import speed
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.probes import Subject
from calm_bench.records.stages import StageCache
from calm_bench.records.store import Run
from calm_bench.stages.beside import beside
from calm_bench.stages.certify import certificates, frontier, method_of
from calm_bench.stages.generate import adaptive, generate, make_rules
from calm_bench.stages.grids import make_grids
from calm_bench.stages.precision import float32_agreement
from calm_bench.stages.prepare import prepare
from calm_bench.stages.probe import probe
from calm_bench.stages.score import Floats, Scores, score_all
from calm_bench.stages.timing import measure_time, with_seconds
from calm_bench.tasks.task import Example, Task

log = logging.getLogger(__name__)


def perform(config: Config, record: Run, device: str, task: Task, examples: list[Example]) -> None:
    """Make the texts of `examples`, score, certify and time them, and finish `record` with all of it."""
    cache, bootstrap_seed = StageCache(config.runs_dir), config.calibration.bootstrap_seed
    decoder, model_identity, rules, tokens, (scored, statistics) = texts(config, cache, device, task, examples)
    scores = Scores.of(scored, task.quality, statistics)
    points = frontier(scores, bootstrap_seed)
    promised, issued = certificates(scores, config.calibration, method_of(config.calibration))
    subject = Subject(decoder, task, examples, [measure for measure, _ in adaptive(config, task)], bootstrap_seed)
    answers = probe(config.probes, subject, model_identity, cache)
    timings = measure_time(decoder, task, examples, rules, issued, config.timing, config.seed)

    record.write("generations", scored)
    record.write("tokens", tokens)
    for name, table in answers.items():
        record.write(name, table)
    record.write("certificates", promised)
    record.write("timings", timings)
    record.write("frontier", with_seconds(points, timings, bootstrap_seed))
    record.finish(
        promises=[certificate.promise for certificate in issued],
        n=len(examples),
        layers=decoder.model.depth,
        model_identity=model_identity,
        quality=task.quality.name,
        similarity=task.similarity.name,
        metrics=[metric.description for metric in (task.quality, task.similarity, *task.beside.values())],
        beside=beside(scores, task.beside.values(), issued, bootstrap_seed),
        float32_agreement=float32_agreement(decoder, task, examples, rules),
        speed=_speed(timings, bootstrap_seed),
    )


def data(config: Config) -> tuple[Task, list[Example]]:
    """The task, and its examples that are decoded and certified. Raises InputError."""
    task = build(config.task, Task)
    examples = task.examples(task.split, config.limit)
    references = [example.references for example in examples]
    doubts = [metric.unsuited(references) for metric in (task.quality, task.similarity, *task.beside.values())]
    for doubt in dict.fromkeys(filter(None, doubts)):
        log.warning(doubt)
    return task, examples


def texts(
    config: Config, cache: StageCache, device: str, task: Task, examples: list[Example]
) -> tuple[Decoder, str, list[Rule], pd.DataFrame, tuple[pd.DataFrame, Floats]]:
    """What several processes share: decoder, the model's identity, rules, all tokens, all texts with their scores."""
    training_task = _training_task(config, task)
    model, model_identity = prepare(config, task, training_task, cache, device)
    decoder = Decoder(model, config.model.dtype)
    grids = make_grids(config, decoder, model_identity, task, training_task, cache)
    rules = make_rules(config, task, model.depth, grids)
    decoded = generate(decoder, model_identity, task, examples, rules, cache, config.batch_size)
    return decoder, model_identity, rules, decoded.tokens, score_all(decoded, task, cache)


def _training_task(config: Config, task: Task) -> Task:
    """Where the training data are: training.path if given, else the task's own folder."""
    return task if config.training.path is None else dataclasses.replace(task, path=config.training.path)


def _speed(timings: pd.DataFrame, seed: int) -> list[dict[Hashable, Any]]:
    return [] if timings.empty else speed.compare(timings, seed).to_dict("records")
