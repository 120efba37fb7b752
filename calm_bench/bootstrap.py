"""Percentile bootstrap over examples, for everything that is a sum over a sum: means, shares, layers per token, F1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ratio(
    numerator: NDArray[np.floating], denominator: NDArray[np.floating], *, seed: int, resamples: int = 1000
) -> tuple[Floats, Floats, Floats]:
    """The ratio of two sums over E examples and its 95% interval: value, low and high, each (...).

    Args:
        numerator, denominator: (..., E), paired by example. An example may add nothing to either.
        seed: the same E and seed draw the same examples, so what was measured on one set is resampled alike.

    NaN where the denominators of all examples are 0; draws in which they are count for nothing.
    """
    drawn_times = times(numerator.shape[-1], seed, resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = numerator.sum(-1) / denominator.sum(-1)
        drawn = (numerator @ drawn_times.T) / (denominator @ drawn_times.T)
        low, high = _quantiles(drawn)
    return value, low, high


def reduction(
    cost: NDArray[np.floating], count: NDArray[np.floating], full: int, *, seed: int, resamples: int = 1000
) -> tuple[Floats, Floats, Floats]:
    """How much cheaper each of R rules is than rule `full`, cost over count: value and its 95% interval, each (R,).

    Args:
        cost, count: (R, E), such as FLOPs and tokens, above 0. Examples are drawn for both rules at once.
        seed: as in `ratio`.
    """
    drawn_times = times(cost.shape[-1], seed, resamples)
    each, drawn = cost.sum(-1) / count.sum(-1), (cost @ drawn_times.T) / (count @ drawn_times.T)
    low, high = _quantiles(drawn[full] / drawn)
    return each[full] / each, low, high


def times(examples: int, seed: int, resamples: int) -> Floats:
    """How often each example is in each draw, (resamples, examples)."""
    draws = np.random.default_rng(seed).integers(examples, size=(resamples, examples))
    places = draws + examples * np.arange(resamples)[:, None]
    counted = np.bincount(places.ravel(), minlength=resamples * examples)
    return counted.reshape(resamples, examples).astype(np.float64)


def _quantiles(drawn: Floats) -> tuple[Floats, Floats]:
    """2.5% and 97.5% quantiles of the finite ones among draws (..., resamples); NaN where none is."""
    known = np.where(np.isfinite(drawn), drawn, np.nan)
    known[..., 0] = np.where(np.isnan(known).all(-1), np.inf, known[..., 0])  # nanquantile warns where all are NaN
    low, high = np.nanquantile(known, [0.025, 0.975], axis=-1)
    return np.where(np.isinf(low), np.nan, low)[()], np.where(np.isinf(high), np.nan, high)[()]
