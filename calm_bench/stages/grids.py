"""Which thresholds each measure is decoded at: the configured ones, or quantiles of what decides on other examples.

Most confidences lie close to 1, where an even grid has few points. What decides is the highest confidence so far: a
token has left by layer i where that reaches the threshold. So the mean exit layer is 1 and the shares of tokens below
the threshold after each layer, and quantiles of the highest confidence so far, all layers together, are thresholds at
even steps of the mean exit layer, for any measure. A grid may follow the confidences if it is fixed before any
calibration example is seen, so they come from another split than the one that is certified.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from calm_bench import processes
from calm_bench.config import Config, QuantilesConfig
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Decay, Rule
from calm_bench.errors import InputError
from calm_bench.measures.asking import Asking, LayerPass
from calm_bench.measures.measure import Measure
from calm_bench.memory import enough_memory
from calm_bench.models.model import EarlyExitModel
from calm_bench.probes.subject import full_texts
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.stages import identity
from calm_bench.stages.decode import adaptive
from calm_bench.stages.leakage import certified_sources
from calm_bench.stages.training_data import grid_sources
from calm_bench.tasks.task import Task

DECIMALS = 6  # as many as names of rules show
Grids = dict[str, list[float]]
Floats = NDArray[np.float64]


@enough_memory("threshold.quantiles: what makes the grids is", "threshold=grid takes none")
def make_grids(
    config: Config, decoder: Decoder, model_identity: str, task: Task, training_task: Task, cache: StageCache
) -> Grids:
    """Thresholds of each measure by its name, strictly descending, in (0, 1]."""
    measures = adaptive(config, task)
    if config.threshold.quantiles is None:
        return {measure.name: list(config.threshold.grid) for measure, _ in measures}
    wanted = config.threshold.quantiles
    sources = _sample(training_task, wanted, task, cache)
    key = {
        "model": model_identity,
        "dtype": decoder.dtype,
        "task": identity.of_task(training_task, wanted.split),
        "sources": len(sources),
        "sample_seed": training_task.sample_seed,
        "measures": [[repr(measure), str(decay)] for measure, decay in measures],
        "min_layer": config.threshold.min_layer,
        "count": wanted.count,
    }
    with cache.hold_together("grids", key) as folder:
        chunks = Chunks(folder, 1)  # kept, for another device may round to other thresholds
        if processes.is_first() and not chunks.done(0):
            model = decoder.model
            tokens = model.tokenize(sources, task.max_source_tokens)
            texts = full_texts(decoder, tokens, task.max_new_tokens, title="texts for the grids")
            found: Grids = {}
            for measure, decay in measures:
                rule = Rule.adaptive(measure, 1.0, decay, config.threshold.min_layer)
                found[measure.name] = quantiles(
                    exit_thresholds(model, tokens, texts, measure, rule.min_layer, decay, task.max_new_tokens),
                    wanted.count,
                )
            rows = [(measure, threshold) for measure, grid in found.items() for threshold in grid]
            chunks.write(0, {"grids": pd.DataFrame(rows, columns=["measure", "threshold"])})
    grids = chunks.read(0, "grids").to_pandas().groupby("measure")["threshold"]
    return {str(measure): thresholds.tolist() for measure, thresholds in grids}


def quantiles(thresholds: Floats, count: int) -> list[float]:
    """At most `count` quantiles at even steps of the values within (0, 1], strictly descending.

    Raises InputError where no value lies there.
    """
    inside = thresholds[(thresholds > 0) & (thresholds <= 1)]
    values = np.quantile(inside, np.arange(count, 0, -1) / (count + 1)).round(DECIMALS) if len(inside) else inside
    grid = [float(value) for value in np.unique(values)[::-1] if value > 0]
    if not grid:
        raise InputError("threshold.quantiles: no confidence of the sample lies within (0, 1]; use threshold=grid")
    return grid


@torch.inference_mode()
def exit_thresholds(
    model: EarlyExitModel,
    sources: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    measure: Measure,
    first_layer: int,
    decay: Decay,
    max_new_tokens: int,
) -> Floats:
    """For every token of the full model's texts and every layer from `first_layer` to L - 1: the largest threshold λ at
    which the token would have left by then, (M,). It undoes the decay, so it may lie outside (0, 1].

    The layers' states are those of one pass over the finished texts: the full model's history is the text itself.
    """
    steps = np.arange(max_new_tokens)
    low, high = (np.array([decay.threshold(end, int(step), max_new_tokens) for step in steps]) for end in (0.0, 1.0))
    found = []
    for batch in model.forced(sources, texts):
        position = batch.there.nonzero()[:, 1].cpu().numpy()
        states = [state[batch.there] for state in batch.states]
        asking, highest = Asking(model.head, model.learned), np.full(len(position), -np.inf)
        for layer in range(1, model.depth):
            passed = LayerPass(layer, np.arange(len(position)), states[layer], states[layer - 1])
            asking.show(measure, passed)
            if layer >= first_layer:
                confidence = asking.ask(measure, passed).confidence.astype(np.float64)
                highest = np.maximum(highest, (confidence - low[position]) / (high - low)[position])
                found.append(highest)
    return np.concatenate(found) if found else np.empty(0)


def _sample(task: Task, wanted: QuantilesConfig, certified: Task, cache: StageCache) -> list[str]:
    """Sources of the split that makes the grid, none of them certified."""
    if not task.has_split(wanted.split):
        raise InputError(
            f"threshold.quantiles.split={wanted.split}: task {task.name} has no such split at {task.path or task.hub}; "
            "give training.path=DIR, or another split than the one that is certified"
        )
    common = certified_sources(f"threshold.quantiles.split={wanted.split}", task, wanted.split, certified, cache)
    return grid_sources(task, wanted.split, wanted.examples, common)
