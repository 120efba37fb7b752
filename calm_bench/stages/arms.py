"""What takes its turn when texts are timed: our decoder under a rule, and what a user could take instead."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch

from calm_bench.cost.seconds import Arm, Source, Timed, clock
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.executor import CountsWeights, Executor
from calm_bench.decoding.rule import Rule
from calm_bench.models.model import EarlyExitModel, GenerateCache
from calm_bench.stages import peers

log = logging.getLogger(__name__)
Texts = Mapping[int, Sequence[int]]  # token ids by example
COMPILED: GenerateCache = "compiled"
CACHES: Mapping[GenerateCache, str] = {  # those of generate(), and what serves its arm
    "growing": "transformers",
    "static": "transformers, static cache",
    COMPILED: "transformers, static cache, compiled",
}


def rule_arm(
    name: str,
    executor: Executor,
    model: EarlyExitModel,
    number: int,
    rule: Rule,
    max_new_tokens: int,
    recorded: Texts,
) -> Arm:
    """One text under one rule; `recorded` is what must come out."""
    counted = executor if isinstance(executor, CountsWeights) else None
    device, depth = model.device, model.depth

    def run(source: Source) -> Timed:
        before = counted.weight_bytes if counted else 0
        start = clock(device)
        context = executor.encode([source])
        encoded = clock(device)
        result = executor.run(context, [rule], max_new_tokens)
        end = clock(device)
        length = int(result.n_tokens[0, 0])
        return Timed(
            seconds=end - start,
            encoder_seconds=encoded - start,
            n_tokens=length,
            mean_exit_layer=rule.layers_run(result.exit_layers[0, 0, :length], depth),
            weight_bytes=counted.weight_bytes - before if counted else None,
            token_ids=result.token_ids[0, 0, :length].tolist(),
        )

    return Arm(name, number, None, executor.name, run, recorded)


def read_arm(executor: Executor, device: torch.device) -> Arm | None:
    """Memory as large as a token's weights at full depth, read as fast as it can be: the floor under an arm."""
    if not isinstance(executor, CountsWeights):
        return None

    def run(source: Source) -> Timed:
        executor.read_weights()  # what other arms have left in the caches is gone
        start = clock(device)
        size = executor.read_weights()
        return Timed(clock(device) - start, 0.0, 0, 0.0, size, [])

    return Arm("read", None, None, executor.name, run)


def generate_arms(
    model: EarlyExitModel,
    caches: Iterable[GenerateCache],
    sources: Sequence[Source],
    full: int | None,
    max_new_tokens: int,
    recorded: Texts,
) -> list[Arm]:
    """Hugging Face generate() on the same weights, greedy, an arm for each cache; where one does not run, a line.

    With torch.compile all of `sources` are read once, untimed: it makes something for each of their lengths.
    """

    def arm(cache: GenerateCache) -> Arm:
        def run(source: Source) -> Timed:
            marks = [clock(model.device)]
            ids = model.generate(source, max_new_tokens, lambda: marks.append(clock(model.device)), cache)
            marks.append(clock(model.device))
            return Timed(marks[-1] - marks[0], marks[1] - marks[0], len(ids), float(model.depth), None, ids)

        return Arm("generate", full, None, CACHES[cache], run, recorded)

    found = []
    for cache in caches:
        one = arm(cache)
        try:
            for source in sources if cache == COMPILED else sources[:1]:
                one.run(source)
        except Exception as error:  # whatever transformers and torch.compile raise: the arm is theirs
            words = str(error).splitlines() or [""]
            log.warning("generate() is not timed as %s: %s: %s", one.executor, type(error).__name__, words[0])
        else:
            found.append(one)
    return found


def int8_arm(model: EarlyExitModel, full: int, max_new_tokens: int, recorded: Texts) -> Arm | None:
    """Our full depth with layers in int8, beside a peer's: another model, whose texts are compared and not required."""
    from calm_bench.decoding.native import Native

    if Native.unavailable(model, torch.float32):
        return None
    rounded = Native(model, torch.float32, int8=True)
    return rule_arm("int8", rounded, model, full, Rule.full(), max_new_tokens, recorded)


def peer_arms(model: EarlyExitModel, full: int, max_new_tokens: int, threads: int, recorded: Texts) -> list[Arm]:
    """CTranslate2 in float32 and int8, at full depth; none, and a line about it, where it cannot be had."""
    if reason := peers.unavailable(model):
        log.warning("CTranslate2 is not timed: %s", reason)
        return []
    found = peers.both_types(model, threads)
    for peer in found:
        log.info("%s (%s) started in %.3f s", peer.name, peer.version(), peer.startup_seconds)
    ends = set(model.tokens.ends)
    without_end = {example: [token for token in ids if token not in ends] for example, ids in recorded.items()}

    def arm(peer: peers.CTranslate2) -> Arm:
        def run(source: Source) -> Timed:
            start = clock(model.device)
            peer.generate(source, 1)  # its encoder cannot be timed apart
            encoded = clock(model.device)
            ids = peer.generate(source, max_new_tokens)
            end = clock(model.device)
            length = min(len(ids) + 1, max_new_tokens)  # with the end of the sequence, which it keeps to itself
            return Timed(end - encoded, encoded - start, length, float(model.depth), None, ids)

        return Arm("peer", full, None, peer.name, run, without_end)

    return [arm(peer) for peer in found]


def grid_arm(
    name: str,
    decoder: Decoder,
    measure: str,
    groups: Sequence[Sequence[Rule]],
    sources: Sequence[Source],
    max_new_tokens: int,
) -> Arm:
    """The groups of rules of a measure, one after another; it is given a batch, as numbers of `sources`."""
    device = decoder.model.device

    def run(numbers: Source) -> Timed:
        batch = [sources[number] for number in numbers]
        tokens = layers = 0
        start = clock(device)
        for group in groups:
            result = decoder.run(decoder.encode(batch), group, max_new_tokens)
            tokens += int(result.n_tokens.sum())
            layers += int(result.exit_layers.sum())
        return Timed(clock(device) - start, 0.0, tokens, layers / tokens, None, [])

    return Arm(name, None, measure, decoder.serving(groups[0][0]).name, run)
