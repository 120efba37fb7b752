"""Stage 6: what the saved layers save in seconds, at batch 1."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from calm_bench import bootstrap
from calm_bench.config import TimingConfig
from calm_bench.cost.seconds import Source, thread_count, time_arms
from calm_bench.cost.speed import repeated
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.memory import enough_memory
from calm_bench.records.schema import TIMINGS
from calm_bench.stages.arms import (
    CACHES,
    COMPILED,
    Texts,
    generate_arms,
    grid_arm,
    int8_arm,
    peer_arms,
    read_arm,
    rule_arm,
)
from calm_bench.stages.decode import rule_name
from calm_bench.tasks.task import Example, Task

log = logging.getLogger(__name__)
TIES = 0.002  # share of timed texts that may part from the recorded ones
GRID_BATCH = 32  # examples decoded together when a whole grid is timed


@enough_memory("timing: what it takes is", "timing.examples=0 times nothing")
def measure_time(
    decoder: Decoder,
    task: Task,
    examples: Sequence[Example],
    rules: Sequence[Rule],
    certified: Collection[int],
    tokens: Iterable[pa.Table],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """The timings table: of `rules` the full model, the `certified` ones, and whatever else `settings` asks for.

    `tokens` holds the tables of that name: what was recorded, and what timed texts must be.
    """
    if not settings.examples:
        return pd.DataFrame(columns=TIMINGS.names)
    spread = np.linspace(0, len(examples) - 1, min(settings.examples, len(examples))).round().astype(int).tolist()
    # not the first ones: files are often sorted by length
    model, device = decoder.model, decoder.model.device
    sources = model.tokenize([examples[index].source for index in spread], task.max_source_tokens)
    length, numbers = task.max_new_tokens, _timed(rules, certified, settings)
    recorded, full = _texts(tokens, numbers, spread), numbers[0]
    best = decoder.preferring(settings.executor)
    serving = {number: best.serving(rules[number], alone=True) for number in numbers}
    for executor in set(serving.values()):
        for source in sources:
            executor.encode([source])  # once untimed: some executors prepare something for each length
    pairs = [("rule", serving[number], number) for number in numbers]
    if settings.loop:
        grid = decoder.preferring("grid").serving(rules[full])
        chosen = (full, *boldest(rules, certified))
        pairs += [("loop", grid, number) for number in chosen if serving[number] is not grid]
    arms = [rule_arm(name, executor, model, n, rules[n], length, recorded[n]) for name, executor, n in pairs]
    if settings.generate:
        caches = [cache for cache in CACHES if cache != COMPILED]
        arms += generate_arms(model, caches, sources, full, length, recorded[full])
    if settings.peers:
        arms += peer_arms(model, full, length, settings.threads, recorded[full])
        arms += filter(None, [int8_arm(model, full, length, recorded[full]), read_arm(serving[full], device)])
    turns = {name: getattr(settings, name) for name in ("repeats", "warmup", "threads")}
    tables = [time_arms(arms, sources, spread, **turns, seed=seed)]
    check_texts(tables[0][tables[0]["arm"] == "rule"], rules)
    if settings.grid:
        tables.append(_time_grids(decoder, task, rules, sources, spread, settings, seed))
    if settings.generate and device.type != "cpu":  # there compiling takes minutes
        # Last and by itself: once torch.compile has captured its graphs, to replay ours is an illegal memory access.
        compiled = generate_arms(model, [COMPILED], sources, full, length, recorded[full])
        if compiled:
            tables.append(time_arms(compiled, sources, spread, **turns, seed=seed))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(order=np.arange(len(table)))


def _texts(tokens: Iterable[pa.Table], rules: Sequence[int], examples: Sequence[int]) -> Mapping[int, Texts]:
    """The recorded token ids of these examples under each of these rules."""
    chosen = pa.array(rules, pa.int32()), pa.array(examples, pa.int32())
    texts: dict[int, dict[int, list[int]]] = {rule: {} for rule in rules}
    for table in tokens:
        here = pc.and_(pc.is_in(table["rule"], chosen[0]), pc.is_in(table["example"], chosen[1]))
        rows = table.filter(here).select(["rule", "example", "position", "token_id"]).to_pandas()
        for (rule, example), text in rows.sort_values("position").groupby(["rule", "example"]):
            texts[rule][example] = text["token_id"].tolist()
    return texts


def check_texts(timed: pd.DataFrame, rules: Sequence[Rule]) -> None:
    """Refuse seconds of other texts than the recorded ones.

    Two executors sum in different orders, so a confidence that lies on its threshold may fall on either side: such ties
    are met in fewer than 1 of 1,000 texts.
    """
    other = timed[~timed["same_text"].astype(bool)].drop_duplicates(["rule", "example"])
    if other.empty:
        return
    first = other.iloc[0]
    words = (
        f"{len(other)} of {len(timed.drop_duplicates(['rule', 'example']))} timed texts are not the recorded ones, the "
        f"first under {rule_name(rules[first['rule']])} by the {first['executor']} executor, example {first['example']}"
    )
    if len(other) > max(1, TIES * len(timed)):
        raise RuntimeError(f"timing: {words}")
    log.warning("%s: ties", words)


def with_seconds(frontier: pd.DataFrame, timings: pd.DataFrame, full: int, seed: int) -> pd.DataFrame:
    """The frontier with seconds per text and speedup over the full model, for the rules that were timed.

    Of one repeat the speedup has no interval: nothing says how far the clock wavers.

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
            speedup, *interval = bootstrap.ratio(whole, own, seed=seed)
            frontier.loc[index, columns] = [own.mean(), speedup, *(interval if repeated(timings) else (np.nan, np.nan))]
    return frontier


def _timed(rules: Sequence[Rule], certified: Collection[int], settings: TimingConfig) -> list[int]:
    """The full model's number first, then that of each rule to be timed: what is lossless always, to compare with."""
    return [
        number
        for number, rule in enumerate(rules)
        if rule.name in ("full", "speculative")
        or number in certified
        or (rule.measure is not None and rule.threshold in settings.thresholds)
        or (settings.static and rule.name == "static")
    ]


def boldest(rules: Sequence[Rule], certified: Collection[int]) -> list[int]:
    """Of each measure the certified rule of the lowest threshold, as grids descend."""
    return list({rules[number].name: number for number in sorted(certified) if rules[number].measure}.values())


def _grids(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """The rules of each confidence measure."""
    names = dict.fromkeys(rule.name for rule in rules if rule.measure is not None)
    return {name: [rule for rule in rules if rule.name == name] for name in names}


def _time_grids(
    decoder: Decoder,
    task: Task,
    rules: Sequence[Rule],
    sources: Sequence[Source],
    examples: Sequence[int],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """Each measure's grid in one pass, and its rules one after another at the same batch size, on one batch."""
    evenly = np.linspace(0, len(sources) - 1, min(GRID_BATCH, len(sources))).round().astype(int).tolist()
    arms = []
    for measure, grid in _grids(rules).items():
        for name, groups in (("grid", [grid]), ("one_by_one", [[rule] for rule in grid])):
            arms.append(grid_arm(name, decoder, measure, groups, sources, task.max_new_tokens))
    with thread_count(settings.threads):
        for arm in arms:
            if arm.name == "grid":  # warms up both: the rules one by one take as long as all else together
                arm.run(evenly)
    return time_arms(arms, [evenly], [examples[0]], repeats=1, warmup=0, threads=settings.threads, seed=seed)
