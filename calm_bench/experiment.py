"""A run from its data to its record: model, decode, score, certify, time. Each stage is a file in `stages/`."""

from __future__ import annotations

import dataclasses

from calm_bench.build import build
from calm_bench.config import Config
from calm_bench.cost import speed
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.following import Stages
from calm_bench.probes import Probe, Subject
from calm_bench.progress import waiting
from calm_bench.records.stage_cache import StageCache
from calm_bench.records.store import Run
from calm_bench.stages import identity
from calm_bench.stages.beside import beside
from calm_bench.stages.decode import adaptive, decode_all, make_rules
from calm_bench.stages.grids import make_grids
from calm_bench.stages.precision import float32_agreement
from calm_bench.stages.prepare import prepare
from calm_bench.stages.probe import ask
from calm_bench.stages.promise import certificates, frontier, make_promises, method_of
from calm_bench.stages.score import Scored, score_all
from calm_bench.stages.timing import measure_time, with_seconds
from calm_bench.stages.trivial import trivial
from calm_bench.tasks.task import Example, Task


def perform(config: Config, record: Run, device: str, task: Task, examples: list[Example]) -> None:
    """Make the texts of `examples`, score, certify and time them, and finish `record` with all of it."""
    cache, bootstrap_seed, stages = StageCache(config.runs_dir), config.calibration.bootstrap_seed, Stages()
    decoder, model_identity, rules, scored = texts(config, cache, device, task, examples, stages)
    with stages.stage("certify"):
        outcomes, statistics = scored.outcomes(), scored.quality()
        points = frontier(outcomes, scored.columns["flops"], task.quality, statistics, bootstrap_seed)
        promises = make_promises(outcomes, config.calibration, method_of(config.calibration))
    certified = {promise.rule for promise in promises}
    subject = Subject(decoder, task, examples, [measure for measure, _ in adaptive(config, task)], bootstrap_seed)
    probes = [build(node, Probe) for node in config.probes.values()]
    with stages.stage("probe"):
        answers = [ask(probe, subject, model_identity, cache) for probe in probes]
    decoded = scored.decoded
    recorded = decoded.chunks.each("tokens")
    with stages.stage("time"):
        timings = measure_time(decoder, task, examples, rules, certified, recorded, config.timing, config.seed)

    record.write("rules", decoded.rules)
    with stages.stage("record"), waiting("writing texts and tokens"):
        for name in ("examples", "tokens"):
            record.stream(name, decoded.chunks.each(name))
        record.stream("generations", scored.generations())
    record.write("exits", decoded.exits())
    for probe, answer in zip(probes, answers, strict=True):
        record.write(probe.name, answer, columns=probe.columns)
    record.write("certificates", certificates(promises, task.quality, lambda _: statistics))
    record.write("timings", timings)
    record.write("frontier", with_seconds(points, timings, outcomes.full, bootstrap_seed))
    record.finish(
        promises=[promise.certificate.promise for promise in promises],
        n=len(examples),
        layers=decoder.model.depth,
        model_identity=model_identity,
        quality=task.quality.name,
        similarity=task.similarity.name,
        metrics=[metric.description for metric in (task.quality, task.similarity, *task.beside.values())],
        trivial=trivial(task, examples, statistics[outcomes.full], bootstrap_seed),
        data=identity.of_files(config),
        beside=beside(scored, task.beside.values(), {outcomes.full, *certified}, bootstrap_seed),
        float32_agreement=float32_agreement(decoder, task, examples, rules, config.batch_size),
        speed=speed.arms(timings, decoded.rules, bootstrap_seed).to_dict("records"),
        grids=speed.grids(timings, bootstrap_seed).to_dict("records"),
        seconds=stages.seconds,
    )


def texts(
    config: Config, cache: StageCache, device: str, task: Task, examples: list[Example], stages: Stages
) -> tuple[Decoder, str, list[Rule], Scored]:
    """What several processes share: the decoder, the model's identity, the rules, and all texts with their scores."""
    training_task = _training_task(config, task)
    with stages.stage("model"):
        model, model_identity = prepare(config, task, training_task, cache, device)
    decoder = Decoder(model, config.model.dtype)
    with stages.stage("grid"):
        grids = make_grids(config, decoder, model_identity, task, training_task, cache)
    rules = make_rules(config, task, model.depth, grids)
    with stages.stage("decode"):
        decoded = decode_all(decoder, model_identity, task, examples, rules, cache, config.batch_size)
    with stages.stage("score"):
        scored = score_all(decoded, task, cache)
    return decoder, model_identity, rules, scored


def _training_task(config: Config, task: Task) -> Task:
    """Where the training data are: training.path if given, else the task's own folder."""
    return task if config.training.path is None else dataclasses.replace(task, path=config.training.path)
