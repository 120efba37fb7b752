"""What calibration accepts: each check returns its argument as an array, or refuses it in one line."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm_bench.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ROUNDING = 1e-9
"""How far outside [0, 1] a value may lie and still count as rounding; such values are clipped."""


def check_open_probability(name: str, value: float) -> float:
    """Return `value` as a float; raise InputError unless it lies strictly between 0 and 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (isfinite(number) and 0 < number < 1):
        raise InputError(f"{name}={value!r}: must be a number strictly between 0 and 1")
    return number


def check_unit_values(name: str, values: ArrayLike) -> FloatArray:
    """Return `values` as float64, clipped to [0, 1]; raise InputError when empty, NaN, or further out than ROUNDING."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: must be an array of numbers in [0, 1], all rows of one length") from None
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} with shape {array.shape}: at least one example is needed on the last axis")
    if np.isnan(array).any():
        raise InputError(f"{name}: {int(np.isnan(array).sum())} of {array.size} values are NaN; all must be in [0, 1]")
    low, high = array.min(), array.max()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"{name} in [{low:g}, {high:g}]: every value must be in [0, 1]")
    return np.clip(array, 0, 1)


def check_grid(losses: ArrayLike, thresholds: ArrayLike, highest: float = np.inf) -> tuple[FloatArray, FloatArray]:
    """Return losses (K, n) and thresholds (K,); InputError unless they match and thresholds fall within (0, highest].

    The full model is never part of the grid: it is what remains when no threshold is accepted.
    """
    table = check_unit_values("losses", losses)
    try:
        grid = np.asarray(thresholds, dtype=np.float64)
    except (TypeError, ValueError):
        grid = np.array([np.nan])
    if grid.ndim != 1 or not ((grid > 0) & (grid <= highest)).all():
        raise InputError(f"thresholds={_short(thresholds)}: must be a list of numbers in (0, {highest:g}]")
    if (np.diff(grid) >= 0).any():
        raise InputError(f"thresholds={_short(thresholds)}: must be strictly descending")
    if table.ndim != 2 or len(table) != len(grid):
        raise InputError(f"losses with shape {table.shape}: must be (K, n) with K={len(grid)}, one row per threshold")
    return table, grid


def check_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return `value`; raise InputError unless it is one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
    return value


def _short(values: ArrayLike, longest: int = 80) -> str:
    text = " ".join(str(values).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."
