"""What a number of examples can certify at all, and what a sample would have certified."""

from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import check_grid, check_open_probability
from calm_bench.calibration.methods import Method
from calm_bench.calibration.parts import whole
from calm_bench.calibration.procedures import last_accepted

LARGEST_N = 2**20
DELTA_STEP = 0.001


def smallest_n(method: Method, delta: float, epsilon: float, n_thresholds: int = 1) -> int | None:
    """The fewest examples on which `method` can accept a threshold: of so many, each without any loss.

    `delta`, `epsilon` in (0, 1). `n_thresholds` of the grid, which matters to procedures without an order. None where
    2**20 examples are too few. Raises InputError on a probability out of range.
    """
    check_open_probability("delta", delta), check_open_probability("epsilon", epsilon)

    def can(n: int) -> bool:
        return bool(method.judge(np.zeros((n_thresholds, n)), whole(n), delta, epsilon).accepted.any())

    high = 1
    while not can(high):
        high *= 2
        if high > LARGEST_N:
            return None
    low = high // 2  # cannot, high can
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if can(middle) else (middle, high)
    return high


def nearest_delta(
    losses: ArrayLike, thresholds: ArrayLike, method: Method, delta: float, epsilon: float
) -> tuple[float, int] | None:
    """The smallest tolerance above `delta`, in steps of 0.001, at which these losses certify a threshold.

    Arguments as those of `certify`. Returns that tolerance and the threshold's place in the grid, or None. It is chosen
    after the losses were seen, so it is a hint for another sample and no promise. Raises InputError as `certify` does.
    """
    table, _ = check_grid(losses, thresholds)
    parts = whole(table.shape[1])

    def place(steps: int) -> int:
        return int(last_accepted(method.judge(table, parts, steps * DELTA_STEP, epsilon).accepted[0]))

    low, high = ceil(delta / DELTA_STEP), round(1 / DELTA_STEP) - 1
    if low >= high or place(high) < 0:
        return None
    while high - low > 1:  # cannot at low, can at high
        middle = (low + high) // 2
        low, high = (low, middle) if place(middle) >= 0 else (middle, high)
    return round(high * DELTA_STEP, 3), place(high)
