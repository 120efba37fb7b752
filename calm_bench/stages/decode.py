"""Stage 2: decode every example under every rule, in chunks that survive an interruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from calm_bench import following, processes
from calm_bench.build import build
from calm_bench.choices import DecayForm, StateCopying
from calm_bench.config import Config
from calm_bench.cost import flops
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.rule import Decay, Rule
from calm_bench.errors import InputError
from calm_bench.measures.measure import Measure
from calm_bench.memory import enough_memory
from calm_bench.models.model import EarlyExitModel
from calm_bench.progress import Progress
from calm_bench.records import exits, schema
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.stages import identity
from calm_bench.tasks.task import Example, Task

CHUNK = 128  # examples decoded between two writes: what a killed run can lose


@dataclass(frozen=True)
class Decoded:
    """All texts, chunk by chunk; each chunk has some examples under every rule, the examples outermost.

    Attributes:
        rules: the table of that name.
        chunks: tables as the record has them: examples, generations (scores are still missing), tokens and exits.
    """

    rules: pd.DataFrame
    chunks: Chunks

    @property
    def identity(self) -> str:
        """A word that changes whenever the texts do."""
        return self.chunks.folder.name

    def exits(self) -> pd.DataFrame:
        """The table of that name, of all chunks."""
        return exits.added(part.to_pandas() for part in self.chunks.each("exits"))


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
    if "speculative" in config.baselines:
        wanted = config.speculative
        rules += [Rule.speculative(layer, drafts) for layer in wanted.layers for drafts in wanted.drafts]
    for measure, decay in adaptive(config, task):
        rules += [
            Rule.adaptive(measure, value, decay, config.threshold.min_layer, state_copying)
            for value in grids[measure.name]
        ]
    return rules


def rules_table(rules: Sequence[Rule], depth: int) -> pd.DataFrame:
    """The record's table of that name."""
    return pd.DataFrame(
        {
            "rule": number,
            "name": rule_name(rule),
            "kind": rule.name if rule.measure is None else "adaptive",
            "measure": None if rule.measure is None else rule.name,
            "threshold": None if rule.measure is None else rule.threshold,
            "decay": str(rule.decay),
            "first_layer": rule.min_layer,
            "last_layer": rule.last_layer or depth,
            "state_copying": rule.state_copying,
            "drafts": rule.drafts,
        }
        for number, rule in enumerate(rules)
    )


def rule_name(rule: Rule) -> str:
    """What people read: full, static@3, softmax@0.6."""
    if rule.measure is not None:
        return f"{rule.name}@{rule.threshold}"
    if rule.drafts is not None:
        return f"{rule.name}@{rule.min_layer},{rule.drafts}"
    return rule.name if rule.threshold is None else f"{rule.name}@{rule.threshold:g}"  # a static rule's is its layer


def decode_all(
    decoder: Decoder,
    model_identity: str,
    task: Task,
    examples: Sequence[Example],
    rules: Sequence[Rule],
    cache: StageCache,
    batch_size: int,
) -> Decoded:
    """Decode, or take from the cache what was decoded before.

    Several processes decode a chunk each in turn; what every one of them returns is what all have decoded. Raises
    InputError where memory does not hold a batch.
    """
    model = decoder.model
    key = {
        "schema": schema.SCHEMA_VERSION,
        "model": model_identity,
        "dtype": decoder.dtype,
        "executors": sorted({decoder.serving(rule).name for rule in rules}),
        "device": model.device.type,
        "task": identity.of_task(task, task.split),
        "examples": [example.id for example in examples],
        "cluster": task.cluster,
        "rules": [str(rule) for rule in rules],
        "chunk": CHUNK,
    }
    parts = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
    mine = processes.share(len(parts))
    total = sum(len(parts[number]) for number in mine)
    with (
        cache.hold_together("decode", key) as folder,
        Progress(total, processes.label("decode"), "text", shown=processes.is_first(), stage="decode") as bar,
    ):
        chunks = Chunks(folder, len(parts))
        layers = _Layers(rules)
        for number in mine:
            part = parts[number]
            if chunks.done(number):
                bar.update(len(part))
                layers.add(chunks.read(number, "exits").to_pandas())
                continue
            sources = model.tokenize([example.source for example in part], task.max_source_tokens)
            with enough_memory(
                f"batch_size={batch_size}: so many examples under {len(rules)} rules are",
                "take fewer (no result depends on it)",
            ):
                result = decoder.decode(sources, rules, task.max_new_tokens, batch_size=batch_size, on_batch=bar.update)
            tables = _chunk(model, task, part, number * CHUNK, sources, rules, result)
            chunks.write(number, tables)
            layers.add(tables["exits"])
            layers.tell()
    return Decoded(rules_table(rules, model.depth), chunks)


class _Layers:
    """Mean exit layers of each rule over the tokens so far."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._names = [f"decode/layers/{rule_name(rule)}" for rule in rules]
        self._layers, self._tokens = np.zeros(len(rules)), np.zeros(len(rules))

    def add(self, counts: pd.DataFrame) -> None:
        """counts: the table exits, of some examples."""
        self._layers += np.bincount(counts["rule"], counts["layer"] * counts["count"], len(self._names))
        self._tokens += np.bincount(counts["rule"], counts["count"], len(self._names))

    def tell(self) -> None:
        """Tell those who follow the run."""
        following.tell(dict(zip(self._names, (self._layers / self._tokens).tolist(), strict=True)))


def _chunk(
    model: EarlyExitModel,
    task: Task,
    examples: Sequence[Example],
    first: int,
    sources: Sequence[Sequence[int]],
    rules: Sequence[Rule],
    result: Generations,
) -> dict[str, pd.DataFrame | pa.Table]:
    """The tables of a chunk; `first` is the number of its first example."""
    targets = model.tokenize([example.target for example in examples])
    described = pd.DataFrame(
        {
            "example": first + number,
            "id": example.id,
            "split": task.split,
            "cluster": example.cluster,
            "source": example.source,
            "references": list(example.references),
            "n_source_tokens": len(source),
            "n_target_tokens": len(target),
        }
        for number, (example, source, target) in enumerate(zip(examples, sources, targets, strict=True))
    )
    example, rule, position = np.nonzero(result.exit_layers)
    layers, confidences = (values[example, rule, position] for values in (result.exit_layers, result.confidences))
    ids, index = np.unique(result.token_ids[example, rule, position], return_inverse=True)
    tokens = {
        "example": (first + example).astype(np.int32),
        "rule": rule.astype(np.int32),
        "position": position.astype(np.int32),
        "token_id": ids[index],
        "piece": pa.DictionaryArray.from_arrays(index.astype(np.int32), model.pieces(ids.tolist())),
        "exit_layer": layers,
        "confidence": pa.array(confidences, from_pandas=True),  # NaN is null
    }
    return {
        "examples": schema.to_table("examples", described),
        "generations": _generations(model, task, examples, first, sources, rules, result),
        "tokens": schema.to_table("tokens", pa.table(tokens)),
        "exits": exits.count(rule, layers, position, confidences),
    }


def _generations(
    model: EarlyExitModel,
    task: Task,
    examples: Sequence[Example],
    first: int,
    sources: Sequence[Sequence[int]],
    rules: Sequence[Rule],
    result: Generations,
) -> pd.DataFrame:
    shape = model.shape()
    texts = model.detokenize(result.token_ids.reshape(-1, result.token_ids.shape[-1]))
    n_tokens = result.n_tokens
    rows: list[dict[str, Any]] = []
    for e, example in enumerate(examples):
        for r, rule in enumerate(rules):
            layers = result.exit_layers[e, r, : n_tokens[e, r]]
            counted = flops.Drafts(rule.min_layer, rule.drafts) if rule.drafts else rule.measure or rule.name
            rows.append(
                {
                    "example": first + e,
                    "rule": r,
                    "prediction": task.as_written(texts[e * len(rules) + r], example),
                    "n_tokens": n_tokens[e, r],
                    "mean_exit_layer": rule.layers_run(layers, shape.layers),
                    "flops": flops.t5(layers, len(sources[e]), shape, counted),
                    "flops_elbayad": flops.elbayad(layers, len(sources[e]), shape, counted),
                }
            )
    return pd.DataFrame(rows)
