"""Stage 6: what the saved layers save in seconds, at batch 1."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from calm_bench import bootstrap
from calm_bench.config import TimingConfig
from calm_bench.cost.seconds import Arm, Source, Timed, clock, time_arms
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.models.model import EarlyExitModel
from calm_bench.records.schema import TIMINGS
from calm_bench.tasks.task import Example, Task

GRID_BATCH = 32  # examples decoded together when a whole grid is timed


def measure_time(
    decoder: Decoder,
    task: Task,
    examples: Sequence[Example],
    rules: Sequence[Rule],
    certified: Collection[int],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """The timings table: of `rules` the full model, the `certified` ones, and whatever else `settings` asks for."""
    if not settings.examples:
        return pd.DataFrame(columns=TIMINGS.names)
    spread = np.linspace(0, len(examples) - 1, min(settings.examples, len(examples))).round().astype(int)
    timed = [examples[index] for index in spread]  # not the first ones: files are often sorted by length
    sources = decoder.model.tokenize([example.source for example in timed], task.max_source_tokens)
    single = decoder.preferring(settings.executor)
    numbers = _timed(rules, certified, settings)
    arms = [_rule_arm(single, number, rules[number], task.max_new_tokens) for number in numbers]
    for executor in {single.serving(rules[number], alone=True) for number in numbers}:
        for source in sources:
            executor.encode([source])  # once untimed: some executors prepare something for each length
    if settings.generate:
        arms.append(_transformers_arm(decoder.model, numbers[0], task.max_new_tokens))
    table = time_arms(
        arms,
        sources,
        spread.tolist(),
        repeats=settings.repeats,
        warmup=settings.warmup,
        threads=settings.threads,
        seed=seed,
    )
    if settings.grid:
        table = pd.concat([table, _time_grids(decoder, task, rules, sources, spread.tolist(), settings, seed)])
    return table.reset_index(drop=True)


def with_seconds(frontier: pd.DataFrame, timings: pd.DataFrame, full: int, seed: int) -> pd.DataFrame:
    """The frontier with seconds per text and speedup over the full model, for the rules that were timed.

    full: the full model's rule.
    """
    columns = ["seconds", "speedup", "speedup_low", "speedup_high"]
    frontier = frontier.assign(**dict.fromkeys(columns, np.nan))
    if timings.empty:
        return frontier
    ours = timings[timings["arm"] == "rule"]
    seconds = ours.groupby(["rule", "example"])["seconds"].mean().unstack()
    whole = seconds.loc[full].to_numpy()
    for index, rule in frontier["rule"].items():
        if rule in seconds.index:
            own = seconds.loc[rule].to_numpy()
            frontier.loc[index, columns] = [own.mean(), *bootstrap.ratio(whole, own, seed=seed)]
    return frontier


def _timed(rules: Sequence[Rule], certified: Collection[int], settings: TimingConfig) -> list[int]:
    """The full model's number first, then that of each rule to be timed."""
    return [
        number
        for number, rule in enumerate(rules)
        if rule.name == "full"
        or number in certified
        or (rule.measure is not None and rule.threshold in settings.thresholds)
        or (settings.static and rule.name == "static")
    ]


def _grids(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """The rules of each confidence measure."""
    names = dict.fromkeys(rule.name for rule in rules if rule.measure is not None)
    return {name: [rule for rule in rules if rule.name == name] for name in names}


def _rule_arm(decoder: Decoder, number: int, rule: Rule, max_new_tokens: int) -> Arm:
    executor, device = decoder.serving(rule, alone=True), decoder.model.device

    def run(source: Source) -> Timed:
        start = clock(device)
        context = executor.encode([source])
        encoded = clock(device)
        result = executor.run(context, [rule], max_new_tokens)
        end = clock(device)
        return Timed(end - start, encoded - start, int(result.n_tokens[0, 0]), float(result.mean_exit_layer[0, 0]))

    return Arm("rule", number, None, executor.name, run)


def _transformers_arm(model: EarlyExitModel, full: int, max_new_tokens: int) -> Arm:
    """Hugging Face generate() on the same weights, greedy, with its cache."""

    def run(source: Source) -> Timed:
        marks = [clock(model.device)]
        ids = model.generate(source, max_new_tokens, lambda: marks.append(clock(model.device)))
        marks.append(clock(model.device))
        return Timed(marks[-1] - marks[0], marks[1] - marks[0], len(ids), float(model.depth))

    return Arm("generate", full, None, "transformers", run)


def _time_grids(
    decoder: Decoder,
    task: Task,
    rules: Sequence[Rule],
    sources: Sequence[Source],
    examples: Sequence[int],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """Each measure's grid in one pass, and its rules one after another at the same batch size."""
    device = decoder.model.device
    by_length = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    batches = [by_length[start : start + GRID_BATCH] for start in range(0, len(by_length), GRID_BATCH)]

    def arm(name: str, measure: str, groups: Sequence[Sequence[Rule]]) -> Arm:
        def run(numbers: Source) -> Timed:
            batch = [sources[number] for number in numbers]
            tokens = layers = 0
            start = clock(device)
            for group in groups:
                result = decoder.run(decoder.encode(batch), group, task.max_new_tokens)
                tokens += int(result.n_tokens.sum())
                layers += int(result.exit_layers.sum())
            return Timed(clock(device) - start, 0.0, tokens, layers / tokens)

        return Arm(name, None, measure, decoder.serving(groups[0][0]).name, run)

    arms = []
    for measure, grid in _grids(rules).items():
        arms.append(arm("grid", measure, [grid]))
        arms.append(arm("one_by_one", measure, [[rule] for rule in grid]))
    return time_arms(
        arms,
        batches,
        [examples[batch[0]] for batch in batches],
        repeats=1,
        warmup=1,
        threads=settings.threads,
        seed=seed,
    )
