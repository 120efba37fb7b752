"""What every text metric gives: statistics per example, a score per example, the quality of a set, and its interval."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm_bench.errors import InputError

Array = NDArray[np.float64]


class Metric(ABC):
    """A metric between predictions and their references, usable without a network or a metric script.

    A subclass says its `name` and `description` and implements `pair`; one whose set quality is not the mean of
    its examples (BLEU) also overrides `aggregate` and `scores`.

    A prediction always has one or more references. A missing reference is an InputError, never a score of 0.
    """

    name: str = ""
    """As printed in tables, for example "BLEU"."""

    description: str = ""
    """What a record needs to repeat the number: package, version and options."""

    @abstractmethod
    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        """Statistics (k,) of one prediction; by default a single number, its score in [0, 1]."""

    def pairs(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> Sequence[Sequence[float]]:
        """Statistics (n, k) of distinct pairs; one by one unless a metric is quicker with many."""
        return [self.pair(prediction, references) for prediction, references in pairs]

    def statistics(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """Statistics (n, k) of n predictions; all that `aggregate` and `interval` need.

        A grid of thresholds says the same thing many times: each distinct (prediction, references) is computed once.
        Raises InputError for lengths that differ and for an example without a reference.
        """
        if len(predictions) != len(references):
            raise InputError(f"{self.name}: {len(predictions)} predictions but references for {len(references)}")
        keys: list[tuple[str, tuple[str, ...]]] = []
        for index, (prediction, answers) in enumerate(zip(predictions, references, strict=True)):
            if isinstance(answers, str) or len(answers) == 0:
                raise InputError(f"{self.name}: references[{index}] is {answers!r}, but must be one or more strings")
            keys.append((prediction, tuple(answers)))
        if not keys:
            raise InputError(f"{self.name}: no predictions to score, but at least one is needed")
        row_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.asarray(self.pairs(list(row_of)), dtype=np.float64)[[row_of[key] for key in keys]]

    def unsuited(self, references: Sequence[Sequence[str]]) -> str | None:
        """Why scores against these references would mislead, in one line; None where nothing speaks against them."""
        return None

    def aggregate(self, statistics: Array) -> float:
        """Quality in 0..100 of the examples with these statistics (n, k), n >= 1."""
        return 100 * float(statistics[:, 0].mean())

    def scores(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """Score (n,) in [0, 1] of each prediction; exactly 1 where it is identical to one of its references."""
        return self.statistics(predictions, references)[:, 0]

    def interval(
        self, statistics: Array, level: float = 0.95, resamples: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """Percentile bootstrap interval (low, high) of `aggregate`, in 0..100, over the n examples of (n, k)."""
        if not 0 < level < 1:
            raise InputError(f"{self.name}: level={level} of an interval must lie in (0, 1)")
        low, high = np.quantile(self.draws(statistics, resamples, seed), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def draws(self, statistics: Array, resamples: int = 1000, seed: int = 0) -> Array:
        """`aggregate`, in 0..100, (resamples,), each of n examples drawn from those of (n, k).

        The same n and seed draw the same examples, so rules decoded on one set are resampled alike.
        """
        random, n = np.random.default_rng(seed), len(statistics)
        return np.array([self.aggregate(statistics[random.integers(n, size=n)]) for _ in range(resamples)])
