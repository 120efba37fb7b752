"""Which examples a threshold is calibrated on: one boolean row over the n examples per trial."""

from functools import lru_cache

import numpy as np

from calm_bench.calibration.checks import BoolArray, FloatArray, check_open_probability
from calm_bench.errors import InputError


def whole(n: int) -> BoolArray:
    """One trial that calibrates on all n examples: (1, n), every value true."""
    return np.ones((1, n), dtype=bool)


def random_parts(n: int, n_trials: int, fraction: float, seed: int) -> BoolArray:
    """Random calibration parts (n_trials, n), each of round(fraction n) examples drawn without replacement.

    The paper takes 50 trials of 80% (Appendix B). Equal (n, n_trials, fraction, seed) give equal parts, so measures,
    objectives and tolerances are compared on the same splits.
    Raises InputError when n_trials < 1, fraction is not in (0, 1), or a part or its rest would be empty.
    """
    if n_trials < 1:
        raise InputError(f"n_trials={n_trials}: must be at least 1")
    size = round(check_open_probability("calibration_fraction", fraction) * n)
    if not 1 <= size < n:
        raise InputError(
            f"calibration_fraction={fraction} of n={n} examples: leaves calibration or test empty; take more examples, "
            "or no trials (calibration.trials=0)"
        )
    return _drawn(n, n_trials, size, seed)


@lru_cache(maxsize=8)  # every measure, objective and tolerance of a run asks for the same
def _drawn(n: int, n_trials: int, size: int, seed: int) -> BoolArray:
    first = np.tile(np.arange(n) < size, (n_trials, 1))
    drawn = np.random.default_rng(seed).permuted(first, axis=1)
    drawn.setflags(write=False)
    return drawn


def part_totals(values: FloatArray, parts: BoolArray) -> FloatArray:
    """Sum of `values` (K, n) over each of `parts` (trials, n): one matrix product, (trials, K)."""
    return np.asarray(parts.astype(np.float64) @ values.T)


def part_sizes(parts: BoolArray) -> np.ndarray:
    """Number of examples of each part, (trials, 1), to divide totals by."""
    return np.asarray(parts.sum(axis=1, keepdims=True))
