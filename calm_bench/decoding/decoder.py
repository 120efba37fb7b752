"""The one door to decoding: a model, the dtype of its weights, and the executors that serve its rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from calm_bench.choices import DecodingDtype
from calm_bench.decoding.executor import ALONE, EXECUTORS, Executor, executor_class
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.rule import Rule
from calm_bench.errors import InputError
from calm_bench.models.model import EarlyExitModel

log = logging.getLogger(__name__)
Source = Sequence[int]
GRID = "grid"
SPECULATIVE = "speculative"
DTYPES: tuple[str, ...] = get_args(DecodingDtype)


@dataclass(frozen=True)
class Encoded:
    """Sources, and what the executor that encoded them knows of them."""

    executor: Executor
    sources: Sequence[Source]
    context: Any


class Decoder:
    """Greedy early-exit decoding with a model, whose weights are read when they are first needed, and then kept.

    Attributes:
        model: what decodes.
        dtype: "float32" or "bfloat16": how weights, keys and values are held; activations are float32 in any case.
        executor: a name in `EXECUTORS`, or "auto": many texts and rules go to the grid, which decodes them together,
            and a single text under a single rule to the first that is available and knows the rule. An executor that
            cannot serve is passed over in favour of the next, and the log says why, once.
    """

    def __init__(self, model: EarlyExitModel, dtype: str = "float32", executor: str = "auto") -> None:
        for option, value, allowed in (("dtype", dtype, DTYPES), ("executor", executor, ("auto", *EXECUTORS))):
            if value not in allowed:
                raise InputError(f"{option}={value!r} must be one of {', '.join(allowed)}")
        self.model, self.dtype, self.executor = model, dtype, executor
        self._executors: dict[str, Executor | None] = {}
        self._logged: set[str] = set()

    def preferring(self, executor: str) -> Decoder:
        """The same decoder, with the same weights, and another choice of executor."""
        other = Decoder(self.model, self.dtype, executor)
        other._executors, other._logged = self._executors, self._logged
        return other

    def serving(self, rule: Rule, *, alone: bool = False) -> Executor:
        """The executor for a rule: among other rules and texts, or `alone`, one text at a time."""
        for executor in self._candidates(alone, bool(rule.drafts)):
            if (reason := executor.refuses(rule)) is None:
                return executor
            self._log(f"the {executor.name} executor does not decode {rule.name}: {reason}")
        raise AssertionError("the last candidate is the grid, which serves every rule")

    def encode(self, sources: Sequence[Source]) -> Encoded:
        """Run the encoder on one batch of sources, for any number of `run`s."""
        executor = next(self._candidates())
        return Encoded(executor, sources, executor.encode(sources))

    def run(self, encoded: Encoded, rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        """Decode one batch of encoded sources under every rule; axes (E, R, max_new_tokens)."""
        served: dict[Executor, list[int]] = {}
        for index, rule in enumerate(rules):
            served.setdefault(self.serving(rule), []).append(index)
        result = Generations.empty(len(encoded.sources), len(rules), max_new_tokens)
        for executor, indices in served.items():
            known = executor is encoded.executor
            context = encoded.context if known else executor.encode(encoded.sources)
            result.put((slice(None), indices), executor.run(context, [rules[i] for i in indices], max_new_tokens))
        return result

    def decode(
        self,
        sources: Sequence[Source],
        rules: Sequence[Rule],
        max_new_tokens: int,
        *,
        batch_size: int = 32,
        on_batch: Callable[[int], object] = lambda examples: None,
    ) -> Generations:
        """Decode every source under every rule.

        Args:
            sources: E lists of token ids, such as `model.tokenize(texts)` gives.
            rules: R rules.
            max_new_tokens: N, the most tokens of a text, end-of-sequence included.
            batch_size: examples decoded together; it changes no result.
            on_batch: called with the number of examples done after each batch, for a progress bar.

        Returns:
            Generations with axes (E, R, N).
        """
        result = Generations.empty(len(sources), len(rules), max_new_tokens)
        by_length = sorted(range(len(sources)), key=lambda example: len(sources[example]))
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            encoded = self.encode([sources[example] for example in batch])
            result.put(batch, self.run(encoded, rules, max_new_tokens))
            on_batch(len(batch))
        return result

    def _candidates(self, alone: bool = False, drafts: bool = False) -> Iterator[Executor]:
        """The executors that are available, best first; the grid is always one of them.

        What comes of drafts the grid knows, but not their time, so alone they are given to all others before.
        """
        best = ALONE[self.model.device.type] if alone else (GRID,)
        names = best if self.executor == "auto" else (self.executor, GRID)
        if alone and drafts:
            names = (*(name for name in names if name != GRID), SPECULATIVE, GRID)
        return self._available(names)

    def _available(self, names: Sequence[str]) -> Iterator[Executor]:
        for name in names:
            if name not in self._executors:
                self._executors[name] = self._built(name)
            if executor := self._executors[name]:
                yield executor

    def _built(self, name: str) -> Executor | None:
        kind, dtype = executor_class(name), getattr(torch, self.dtype)
        if reason := kind.unavailable(self.model, dtype):
            self._log(f"the {name} executor is not available: {reason}")
            return None
        return kind(self.model, dtype)

    def _log(self, words: str) -> None:
        if words not in self._logged:
            self._logged.add(words)
            log.info(words)


def decode(
    model: EarlyExitModel, sources: Sequence[Source], rules: Sequence[Rule], max_new_tokens: int, dtype: str = "float32"
) -> Generations:
    """A `Decoder` for one call, as a notebook wants it."""
    return Decoder(model, dtype).decode(sources, rules, max_new_tokens)
