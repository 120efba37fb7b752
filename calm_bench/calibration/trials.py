"""Repeated random splits: calibrate on one part, look at the rest (CALM section 5 and Appendix B)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import BoolArray, FloatArray, check_grid, check_open_probability
from calm_bench.calibration.methods import Method, find_method
from calm_bench.calibration.parts import part_sizes, part_totals, random_parts
from calm_bench.calibration.procedures import last_accepted
from calm_bench.errors import InputError


@dataclass(frozen=True)
class Trials:
    """What each trial certified, and on which examples.

    index (n_trials,): the certified threshold's place in the grid, -1 for the full model. thresholds (n_trials,): the
    threshold itself, NaN for the full model. p_values (n_trials,): its p-value, NaN for the full model and for methods
    without p-values. calibration (n_trials, n): true where an example was calibrated on; the others are the test part.
    """

    index: np.ndarray
    thresholds: FloatArray
    p_values: FloatArray
    calibration: BoolArray

    @property
    def test(self) -> BoolArray:
        """The held-out part of each trial, (n_trials, n)."""
        return ~self.calibration

    @property
    def n_calibration(self) -> int:
        """Number of calibration examples, the same in every trial."""
        return int(self.calibration[0].sum())

    def seen_as(self, units: np.ndarray) -> "Trials":
        """The same trials where the unit that was split is `units` (m,) of each of m examples, numbers from 0."""
        return replace(self, calibration=self.calibration[:, units])

    def test_means(self, values: ArrayLike, full: ArrayLike) -> FloatArray:
        """Mean over each trial's test part of a quantity at its certified threshold, (n_trials,).

        `values` (K, n): the quantity (a loss, a score, layers) for each threshold and example. `full` (n,): the same
        for the full model, used by the trials that certified no threshold. Raises InputError when shapes differ.
        """
        table, last = np.asarray(values, dtype=np.float64), np.asarray(full, dtype=np.float64)
        n = self.calibration.shape[1]
        if table.ndim != 2 or table.shape[1] != n or last.shape != (n,) or self.index.max() >= len(table):
            raise InputError(f"values {table.shape} and full {last.shape}: must be (K, n) and (n,) with n={n}")
        means = part_totals(np.vstack([table, last]), self.test) / part_sizes(self.test)
        # Index -1, the full model, is the last row.
        return np.asarray(means[np.arange(len(means)), self.index])


def trials(
    losses: ArrayLike,
    thresholds: ArrayLike,
    *,
    delta: float,
    epsilon: float,
    method: str | Method = "ltt",
    n_trials: int = 50,
    calibration_fraction: float = 0.8,
    seed: int = 0,
) -> Trials:
    """Certify on `n_trials` random calibration parts, leaving the rest of the n examples of each for testing.

    `losses`, `thresholds`, `delta`, `epsilon` and `method` as in `certify`; `calibration_fraction` in (0, 1). Equal
    seeds split n examples alike, whatever is certified. Raises InputError as `certify` does.
    """
    table, grid = check_grid(losses, thresholds)
    delta, epsilon = check_open_probability("delta", delta), check_open_probability("epsilon", epsilon)
    chosen = find_method(method)
    calibration = random_parts(table.shape[1], n_trials, calibration_fraction, seed)

    accepted, p_values = chosen.judge(table, calibration, delta, epsilon)
    index = last_accepted(accepted)
    found = index >= 0
    own = np.full(n_trials, np.nan) if p_values is None else p_values[np.arange(n_trials), index]
    return Trials(
        index=index,
        thresholds=np.where(found, grid[index], np.nan),
        p_values=np.where(found, own, np.nan),
        calibration=calibration,
    )
