"""A run from beginning to end: data, model, decode, score, certify, time, record. Each stage is a file in `stages/`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calm_bench import config as configuration
from calm_bench import processes
from calm_bench.config import Config
from calm_bench.cost import speed
from calm_bench.decoding.rule import Rule
from calm_bench.errors import InputError
from calm_bench.models.t5 import EarlyExitT5
from calm_bench.probes import Subject
from calm_bench.records.schema import SCHEMA_VERSION
from calm_bench.records.stages import StageCache, locked
from calm_bench.records.store import Run
from calm_bench.stages import identity
from calm_bench.stages.beside import beside
from calm_bench.stages.certify import certificates, frontier
from calm_bench.stages.generate import adaptive, generate, make_rules
from calm_bench.stages.grids import make_grids
from calm_bench.stages.measure_time import measure_time, with_seconds
from calm_bench.stages.precision import float32_agreement
from calm_bench.stages.prepare import prepare
from calm_bench.stages.probe import probe
from calm_bench.stages.score import Floats, Scores, score_all
from calm_bench.tasks.task import Example, Task


def run(config: Config, command: str | None = None, ended_early: Callable[[Run], None] = lambda record: None) -> Run:
    """Run an experiment and return its finished record, which names the `command` that started it.

    The same configuration has the same record: a finished one is returned as it is (unless `force`), an interrupted one
    goes on from the last chunk that it decoded. `ended_early` is given the record of a run that fails or that is
    interrupted. Where several processes make one run, the first calls this and the others `assist`. Raises InputError
    for what cannot run.
    """
    device = choose_device(config.device)
    processes.join(device)
    earlier = finished(config)
    if not processes.agree(earlier is None) and earlier is not None:
        return earlier
    task, examples = _data(config)  # what cannot be read leaves nothing behind
    folder = Path(config.runs_dir) / run_id(config)
    with locked(folder):
        earlier = finished(config)
        if not processes.agree(earlier is None) and earlier is not None:
            return earlier  # another command was quicker
        record = Run.begin(folder, configuration.plain(config), name=config.name, seed=config.seed, command=command)
        try:
            _run(config, record, device, task, examples)
        except InputError:
            record.discard()
            raise
        except BaseException as error:
            record.mark("interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed")
            ended_early(record)
            raise
    return record


def assist(config: Config) -> None:
    """Train, decode and score with the first process, in step with its `run`; the rest of a run it does alone."""
    device = choose_device(config.device)
    processes.join(device)
    if processes.agree(False):
        task, examples = _data(config)
        if processes.agree(False):
            _texts(config, StageCache(config.runs_dir), device, task, examples)


def finished(config: Config) -> Run | None:
    """The finished record of this very configuration, if there is one and it is not to be made again."""
    folder = Path(config.runs_dir) / run_id(config)
    if config.force or not (folder / "run.json").exists():
        return None
    record = Run.open(folder)
    return record if record.status == "finished" else None


def _run(config: Config, record: Run, device: str, task: Task, examples: list[Example]) -> None:
    cache, bootstrap_seed = StageCache(config.runs_dir), config.calibration.bootstrap_seed
    model, model_identity, rules, tokens, (scored, statistics) = _texts(config, cache, device, task, examples)
    scores = Scores.of(scored, task.quality, statistics)
    points = frontier(scores, bootstrap_seed)
    promised, issued = certificates(scores, config.calibration)
    subject = Subject(model, task, examples, [measure for measure, _ in adaptive(config, task)], bootstrap_seed)
    answers = probe(config.probes, subject, model_identity, cache)
    timings = measure_time(model, task, examples, rules, issued, config.timing, config.seed)

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
        layers=model.depth,
        model_identity=model_identity,
        quality=task.quality.name,
        similarity=task.similarity.name,
        metrics=[metric.description for metric in (task.quality, task.similarity, *task.beside)],
        beside=beside(scores, task.beside, issued, bootstrap_seed),
        float32_agreement=float32_agreement(model, task, examples, rules),
        speed=_speed(timings, bootstrap_seed),
    )


def _data(config: Config) -> tuple[Task, list[Example]]:
    task: Task = configuration.build(config.task)
    return task, task.examples(task.split, config.limit)


def _texts(
    config: Config, cache: StageCache, device: str, task: Task, examples: list[Example]
) -> tuple[EarlyExitT5, str, list[Rule], pd.DataFrame, tuple[pd.DataFrame, Floats]]:
    """What several processes share: the model, its identity, the rules, all tokens, and all texts with their scores."""
    training_task = _training_task(config, task)
    model, model_identity = prepare(config, task, training_task, cache, device)
    grids = make_grids(config, model, model_identity, task, training_task, cache)
    rules = make_rules(config, task, model.depth, grids)
    decoded = generate(model, model_identity, task, examples, rules, cache, config.batch_size)
    return model, model_identity, rules, decoded.tokens, score_all(decoded, task, cache)


def run_id(config: Config) -> str:
    """NAME-HASH: the same for the same configuration and files, wherever these lie and the record goes."""
    values = configuration.plain(config)
    for place in ("runs_dir", "figures", "force", "tracking"):
        del values[place]
    for part, files in (("model", identity.of_model), ("task", identity.of_data), ("training", identity.of_data)):
        if values[part]["path"] is not None:
            values[part]["path"] = files(values[part]["path"])
    text = json.dumps([SCHEMA_VERSION, values], sort_keys=True)
    return f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def choose_device(wanted: str) -> str:
    """cpu or cuda. Raises InputError where cuda is asked for and there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here; use device=cpu or device=auto")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _training_task(config: Config, task: Task) -> Task:
    """Where the training data are: training.path if given, else the task's own folder."""
    return task if config.training.path is None else dataclasses.replace(task, path=config.training.path)


def _speed(timings: pd.DataFrame, seed: int) -> list[dict[Hashable, Any]]:
    return [] if timings.empty else speed.compare(timings, seed).to_dict("records")
