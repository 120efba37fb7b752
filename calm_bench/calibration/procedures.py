"""From p-values to accepted thresholds, with at most probability epsilon of accepting any that breaks the promise."""

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import BoolArray, check_open_probability, check_unit_values


def fixed_sequence(p_values: ArrayLike, epsilon: float) -> BoolArray:
    """Test thresholds in the order given, from the safest down, each at level epsilon; stop at the first failure.

    CALM section 4.2, Algorithm 1. `p_values` (..., K) in [0, 1] belong to strictly descending thresholds. Returns
    accepted (..., K): all before the first p-value above epsilon. The threshold that failed is not among them.
    Raises InputError on p-values out of range or NaN, and epsilon not in (0, 1).
    """
    passed = check_unit_values("p_values", p_values) <= check_open_probability("epsilon", epsilon)
    return np.asarray(np.logical_and.accumulate(passed, axis=-1))


def bonferroni(p_values: ArrayLike, epsilon: float) -> BoolArray:
    """Test each of the K thresholds at level epsilon / K, in no order. Shapes and errors as in `fixed_sequence`."""
    table = check_unit_values("p_values", p_values)
    return np.asarray(table <= check_open_probability("epsilon", epsilon) / table.shape[-1])


def last_accepted(accepted: BoolArray) -> np.ndarray:
    """Index (...,) of the last accepted threshold of (..., K), the one that exits earliest; -1 when there is none."""
    positions = np.arange(accepted.shape[-1])
    return np.asarray(np.where(accepted, positions, -1).max(axis=-1))
