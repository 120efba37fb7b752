"""Stage 2: decode every example under every rule, in chunks that survive an interruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from calm_bench import processes
from calm_bench.build import build
from calm_bench.choices import DecayForm, StateCopying
from calm_bench.config import Config
from calm_bench.cost import flops
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.rule import Decay, Rule
from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure
from calm_bench.models.model import EarlyExitModel
from calm_bench.records.schema import SCHEMA_VERSION
from calm_bench.records.stages import Chunks, StageCache
from calm_bench.stages import identity
from calm_bench.tasks.task import Example, Task

CHUNK = 128  # examples decoded between two writes: what a killed run can lose


@dataclass(frozen=True)
class Decoded:
    """All texts.

    Attributes:
        identity: a word that changes whenever they do.
        generations: a row for each example and rule, examples outermost; scores are still missing.
        tokens: a row for each token.
    """

    identity: str
    generations: pd.DataFrame
    tokens: pd.DataFrame


def adaptive(config: Config, task: Task) -> list[tuple[Measure, Decay]]:
    """The confidence measures, each with the decay of its thresholds."""
    pairs = []
    for node in config.measure.values():
        measure = build(node, Measure)
        tau = _tau(task, measure) if config.threshold.tau is None else config.threshold.tau
        pairs.append((measure, Decay(cast(DecayForm, config.threshold.decay), tau)))
    return pairs


def _tau(task: Task, measure: Measure) -> float:
    """The task's decay temperature for a measure, or for the one that it says it is like."""
    for name in filter(None, (measure.name, measure.tau_like)):
        if name in task.tau:
            return task.tau[name]
    raise InputError(
        f"task.tau: task {task.name} lists none for measure {measure.name!r}; give +task.tau.{measure.name}=T, T >= 0 "
        "(4 falls, 0 stays), threshold.tau=T for all measures, or the measure's class a tau_like"
    )


def make_rules(config: Config, task: Task, depth: int, grids: Mapping[str, Sequence[float]]) -> list[Rule]:
    """The full model, the baselines, and each measure at each threshold of its grid, in this order."""
    if config.threshold.min_layer > depth:
        raise InputError(
            f"threshold.min_layer={config.threshold.min_layer} must be at most {depth}, the model's layers"
        )
    state_copying = cast(StateCopying, config.state_copying)
    rules = [Rule.full()]
    if "oracle" in config.baselines:
        rules.append(Rule.oracle(state_copying))
    if "static" in config.baselines:
        rules += [Rule.static(layer) for layer in range(1, depth + 1)]
    for measure, decay in adaptive(config, task):
        rules += [
            Rule.adaptive(measure, value, decay, config.threshold.min_layer, state_copying)
            for value in grids[measure.name]
        ]
    return rules


def generate(
    decoder: Decoder,
    model_identity: str,
    task: Task,
    examples: Sequence[Example],
    rules: Sequence[Rule],
    cache: StageCache,
    batch_size: int,
) -> Decoded:
    """Decode, or take from the cache what was decoded before.

    Several processes decode a chunk each in turn; every one of them returns what all have decoded.
    """
    model = decoder.model
    key = {
        "schema": SCHEMA_VERSION,
        "model": model_identity,
        "dtype": decoder.dtype,
        "executors": sorted({decoder.serving(rule).name for rule in rules}),
        "device": model.device.type,
        "task": identity.of_task(task, task.split),
        "examples": [example.id for example in examples],
        "rules": [str(rule) for rule in rules],
    }
    parts = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
    mine = processes.share(len(parts))
    total = sum(len(parts[number]) for number in mine)
    with (
        cache.hold_together("decode", key) as folder,
        tqdm(total=total, desc=processes.label("decode"), unit="text", disable=not processes.is_first()) as bar,
    ):
        chunks = Chunks(folder)
        for number in mine:
            part = parts[number]
            if chunks.done(number):
                bar.update(len(part))
                continue
            sources = model.tokenize([example.source for example in part], task.max_source_tokens)
            result = decoder.decode(sources, rules, task.max_new_tokens, batch_size=batch_size, on_batch=bar.update)
            frames = {
                "generations": _generations(model, task, part, sources, rules, result),
                "tokens": _tokens(model, part, rules, result),
            }
            chunks.write(number, frames)
    frames = chunks.read_all()
    return Decoded(folder.name, frames["generations"], frames["tokens"])


def _generations(
    model: EarlyExitModel,
    task: Task,
    examples: Sequence[Example],
    sources: Sequence[Sequence[int]],
    rules: Sequence[Rule],
    result: Generations,
) -> pd.DataFrame:
    shape = model.shape()
    targets = model.tokenize([example.target for example in examples])
    texts = model.detokenize(result.token_ids.reshape(-1, result.token_ids.shape[-1]))
    n_tokens, mean_layers = result.n_tokens, result.mean_exit_layer
    rows: list[dict[str, Any]] = []
    for e, example in enumerate(examples):
        for r, rule in enumerate(rules):
            layers = result.exit_layers[e, r, : n_tokens[e, r]]
            rows.append(
                {
                    "example_id": example.id,
                    "split": task.split,
                    "measure": rule.name,
                    "threshold": rule.threshold,
                    "decay": str(rule.decay),
                    "source": example.source,
                    "prediction": task.as_written(texts[e * len(rules) + r], example),
                    "reference": list(example.references),
                    "n_source_tokens": len(sources[e]),
                    "n_target_tokens": len(targets[e]),
                    "n_tokens": n_tokens[e, r],
                    "mean_exit_layer": mean_layers[e, r],
                    "flops": flops.t5(layers, len(sources[e]), shape, rule.measure or rule.name),
                    "flops_elbayad": flops.elbayad(layers, len(sources[e]), shape, rule.measure or rule.name),
                }
            )
    return pd.DataFrame(rows)


def _tokens(
    model: EarlyExitModel, examples: Sequence[Example], rules: Sequence[Rule], result: Generations
) -> pd.DataFrame:
    e, r, t = np.nonzero(result.exit_layers)
    ids = result.token_ids[e, r, t]
    distinct, place = np.unique(ids, return_inverse=True)
    pieces = np.array(model.pieces(distinct.tolist()), dtype=object)
    return pd.DataFrame(
        {
            "example_id": np.array([example.id for example in examples], dtype=object)[e],
            "measure": np.array([rule.name for rule in rules], dtype=object)[r],
            "threshold": np.array([np.nan if rule.threshold is None else rule.threshold for rule in rules])[r],
            "position": t.astype(np.int32),
            "token_id": ids,
            "piece": pieces[place],
            "exit_layer": result.exit_layers[e, r, t],
            "confidence": result.confidences[e, r, t],
        }
    )
