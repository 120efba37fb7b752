"""Stage 6: what the saved layers save in seconds, at batch 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from transformers import DynamicCache, EncoderDecoderCache

from calm_bench import bootstrap
from calm_bench.calibration import Certificate
from calm_bench.config import TimingConfig
from calm_bench.cost.seconds import Arm, Source, Timed, clock, time_arms
from calm_bench.decoding.loop import encode_sources, generate
from calm_bench.decoding.rule import Rule
from calm_bench.decoding.weights import FusedT5
from calm_bench.models.t5 import EarlyExitT5
from calm_bench.records.schema import TIMINGS
from calm_bench.tasks.task import Example, Task

GRID_BATCH = 32  # examples decoded together when a whole grid is timed


def measure_time(
    model: EarlyExitT5,
    task: Task,
    examples: Sequence[Example],
    rules: Sequence[Rule],
    issued: Sequence[Certificate],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """The timings table: of `rules` the full model and every certified one, and whatever else `settings` asks for."""
    if not settings.examples:
        return pd.DataFrame(columns=TIMINGS.names)
    weights = FusedT5(model)
    spread = np.linspace(0, len(examples) - 1, min(settings.examples, len(examples))).round().astype(int)
    timed = [examples[index] for index in spread]  # not the first ones: files are often sorted by length
    sources = model.tokenize([example.source for example in timed], task.max_source_tokens)
    arms = [_rule_arm(weights, rule, task.max_new_tokens) for rule in _timed(rules, issued, settings)]
    if settings.generate:
        arms.append(_transformers_arm(model, task.max_new_tokens))
    table = time_arms(
        arms,
        sources,
        [example.id for example in timed],
        repeats=settings.repeats,
        warmup=settings.warmup,
        threads=settings.threads,
        seed=seed,
    )
    if settings.grid:
        table = pd.concat([table, _time_grids(weights, task, rules, sources, timed, settings, seed)])
    return table.reset_index(drop=True)


def with_seconds(frontier: pd.DataFrame, timings: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The frontier with seconds per text and speedup over the full model, for the rules that were timed."""
    columns = ["seconds", "speedup", "speedup_low", "speedup_high"]
    frontier = frontier.assign(**dict.fromkeys(columns, np.nan))
    if timings.empty:
        return frontier
    seconds = timings.groupby(["arm", "example_id"])["seconds"].mean().unstack()
    seconds = seconds.loc[:, seconds.loc["full"].notna()]  # whole batches are timed too, where grids are
    full = seconds.loc["full"].to_numpy()
    for index, row in frontier.iterrows():
        arm = arm_name(row["measure"], row["threshold"])
        if arm in seconds.index:
            own = seconds.loc[arm].to_numpy()
            frontier.loc[index, columns] = [own.mean(), *bootstrap.ratio(full, own, seed=seed)]
    return frontier


def arm_name(measure: str, threshold: float | None) -> str:
    """How the timings call a rule: "full", "static@3", "softmax@0.6"."""
    return measure if threshold is None or np.isnan(threshold) else f"{measure}@{threshold:g}"


def _timed(rules: Sequence[Rule], issued: Sequence[Certificate], settings: TimingConfig) -> list[Rule]:
    """The full model first, then each rule to be timed once."""
    wanted = {(certificate.measure, certificate.threshold) for certificate in issued}
    wanted |= {(measure, threshold) for measure in _grids(rules) for threshold in settings.thresholds}
    return [
        rule
        for rule in rules
        if rule.name == "full" or (rule.name, rule.threshold) in wanted or (settings.static and rule.name == "static")
    ]


def _grids(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """The rules of each confidence measure."""
    names = dict.fromkeys(rule.name for rule in rules if rule.measure is not None)
    return {name: [rule for rule in rules if rule.name == name] for name in names}


def _rule_arm(weights: FusedT5, rule: Rule, max_new_tokens: int) -> Arm:
    def run(source: Source) -> Timed:
        start = clock(weights.device)
        memory = encode_sources(weights, [source])
        encoded = clock(weights.device)
        result = generate(weights, memory, [rule], max_new_tokens)
        end = clock(weights.device)
        return Timed(end - start, encoded - start, int(result.n_tokens[0, 0]), float(result.mean_exit_layer[0, 0]))

    return Arm(arm_name(rule.name, rule.threshold), rule.name, rule.threshold, run)


def _transformers_arm(model: EarlyExitT5, max_new_tokens: int) -> Arm:
    """Hugging Face generate() on the same weights, greedy, with its cache."""
    t5 = model.backbone

    @torch.inference_mode()
    def run(source: Source) -> Timed:
        marks: list[float] = []
        hook = t5.encoder.register_forward_hook(lambda *_: marks.append(clock(model.device)))
        start = clock(model.device)
        ids = transformers_generate(model, source, max_new_tokens)
        end = clock(model.device)
        hook.remove()
        return Timed(end - start, marks[0] - start, len(ids), float(model.depth))

    return Arm("generate", "full", None, run)


def transformers_generate(model: EarlyExitT5, source: Source, max_new_tokens: int) -> list[int]:
    """Tokens that `generate()` of transformers writes greedily, end-of-sequence included."""
    t5 = model.backbone
    caches = (DynamicCache(config=t5.decoder.config), DynamicCache(config=t5.decoder.config))
    output = t5.generate(
        input_ids=torch.tensor([list(source)], device=model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        past_key_values=EncoderDecoderCache(*caches),  # its own is too short where the decoder is deeper
    )
    ids: list[int] = output[0, 1:].tolist()
    return ids


def _time_grids(
    weights: FusedT5,
    task: Task,
    rules: Sequence[Rule],
    sources: Sequence[Source],
    examples: Sequence[Example],
    settings: TimingConfig,
    seed: int,
) -> pd.DataFrame:
    """Each measure's grid in one pass, and its rules one after another at the same batch size."""
    by_length = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    batches = [by_length[start : start + GRID_BATCH] for start in range(0, len(by_length), GRID_BATCH)]

    def arm(name: str, measure: str, groups: Sequence[Sequence[Rule]]) -> Arm:
        def run(numbers: Source) -> Timed:
            batch = [sources[number] for number in numbers]
            tokens = layers = 0
            start = clock(weights.device)
            for group in groups:
                result = generate(weights, encode_sources(weights, batch), group, task.max_new_tokens)
                tokens += int(result.n_tokens.sum())
                layers += int(result.exit_layers.sum())
            return Timed(clock(weights.device) - start, 0.0, tokens, layers / tokens)

        return Arm(name, measure, None, run)

    arms = []
    for measure, grid in _grids(rules).items():
        arms.append(arm(f"grid:{measure}", measure, [grid]))
        arms.append(arm(f"one_by_one:{measure}", measure, [[rule] for rule in grid]))
    return time_arms(
        arms,
        batches,
        [f"{examples[batch[0]].id} and {len(batch) - 1} more" for batch in batches],
        repeats=1,
        warmup=1,
        threads=settings.threads,
        seed=seed,
    )
