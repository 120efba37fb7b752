"""P-values for "the mean loss at this threshold is above delta", for losses in [0, 1] (CALM section 4, Eq. 9).

A small p-value speaks for the threshold: it is the chance of a sample this good if the threshold broke the promise.
Each p-value p is valid: P(p <= u) <= u for all u in [0, 1] whenever the n examples are independent draws of one source
and their mean loss is at least delta. Nothing is assumed about the shape of the losses.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, rel_entr

from calm_bench.calibration.betting import DESIGN_LEVEL, log_capital
from calm_bench.calibration.checks import FloatArray, check_open_probability, check_unit_values


def hoeffding(losses: ArrayLike, delta: float) -> FloatArray:
    """Hoeffding's bound, Eq. 9: p = exp(-2 n max(0, delta - mean)^2).

    `losses` (..., n) in [0, 1], `delta` in (0, 1). Returns (...,). Raises InputError on anything else.
    """
    table = check_unit_values("losses", losses)
    return hoeffding_from_total(table.sum(axis=-1), table.shape[-1], delta)


def hoeffding_bentkus(losses: ArrayLike, delta: float) -> FloatArray:
    """The Hoeffding-Bentkus bound, used in the paper's experiments (Bates et al. 2021; Angelopoulos et al. 2021).

    p = min(exp(-n kl(min(mean, delta), delta)), e P[Binomial(n, delta) <= ceil(n mean)]),
    kl(a, b) = a ln(a / b) + (1 - a) ln((1 - a) / (1 - b)).

    `losses` (..., n) in [0, 1], `delta` in (0, 1). Returns (...,). Raises InputError on anything else.
    """
    table = check_unit_values("losses", losses)
    return hoeffding_bentkus_from_total(table.sum(axis=-1), table.shape[-1], delta)


def wsr(losses: ArrayLike, delta: float, level: float = DESIGN_LEVEL) -> FloatArray:
    """The betting p-value of Waudby-Smith and Ramdas (2024): one over the largest capital a gambler reached.

    Tighter than Hoeffding-Bentkus when the losses vary little. `level` in (0, 1) is the p-value the bets aim for: it
    sets their size, never their validity. See `betting`.

    `losses` (..., n) in [0, 1], `delta` in (0, 1). Returns (...,). Raises InputError on anything else.
    """
    table = check_unit_values("losses", losses)
    capital = log_capital(table, check_open_probability("delta", delta), check_open_probability("level", level))
    return np.exp(-np.maximum(capital, 0))


def hoeffding_from_total(total: FloatArray, n: int | np.ndarray, delta: float) -> FloatArray:
    """`hoeffding` from the sum of the losses, `total` (...,), and the number of examples, `n` (broadcast)."""
    check_open_probability("delta", delta)
    return np.asarray(np.exp(-2 * n * np.maximum(0, delta - total / n) ** 2))


def kl_hoeffding_from_total(total: FloatArray, n: int | np.ndarray, delta: float) -> FloatArray:
    """The first of the two terms of `hoeffding_bentkus`: exp(-n kl(min(mean, delta), delta))."""
    mean = np.minimum(total / n, delta)
    return np.asarray(np.exp(-n * (rel_entr(mean, delta) + rel_entr(1 - mean, 1 - delta))))


def hoeffding_bentkus_from_total(total: FloatArray, n: int | np.ndarray, delta: float) -> FloatArray:
    """`hoeffding_bentkus` from the sum of the losses, `total` (...,), and the number of examples, `n` (broadcast).

    The sum, not the mean: of losses that are 0 or 1 it is exact, so that rounding cannot move its ceiling.
    """
    check_open_probability("delta", delta)
    bentkus = np.e * bdtr(np.ceil(total), n, delta)
    return np.asarray(np.minimum(kl_hoeffding_from_total(total, n, delta), bentkus))
