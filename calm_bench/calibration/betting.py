"""Testing a bounded mean by betting (Waudby-Smith and Ramdas 2024, section 4; Bates et al. 2021, section 3.1.3).

A gambler starts with capital 1 and bets, example after example, that the next loss is below `mean`:

    capital_t = product over i <= t of (1 - bet_i (loss_i - mean)),    bet_i chosen from losses 1..i-1 only.

If the true mean is at least `mean` no strategy makes money on average, so by Ville's inequality the capital ever
reaches 1 / epsilon with probability at most epsilon. Much capital is evidence that the true mean is below `mean`.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import FloatArray, check_open_probability, check_unit_values

DESIGN_LEVEL = 0.05
"""The p-value that bets aim for unless told otherwise (the paper's epsilon)."""

BISECTIONS = 30
"""Halvings of [0, 1] in the search for an upper bound: it is found to within 1e-9, rounded up."""


def log_capital(losses: FloatArray, mean: float | FloatArray, level: float) -> FloatArray:
    """Log of the largest capital reached while betting that the mean of `losses` (..., n) is below `mean` (...,).

    Grows with `mean`. The examples are bet on in a fixed shuffled order, because data files are often sorted (by
    length, say) and a gambler who meets the easy examples first would win for no reason.
    """
    shuffled = losses[..., _order(losses.shape[-1])]
    steps = np.log1p(-bets(shuffled, level) * (shuffled - np.asarray(mean)[..., np.newaxis]))
    return np.asarray(np.cumsum(steps, axis=-1).max(axis=-1))


@lru_cache(maxsize=8)
def _order(n: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(n)


def bets(losses: FloatArray, level: float) -> FloatArray:
    """The stake before each loss (..., n): min(1, sqrt(2 ln(1 / level) / (n variance of the losses so far))).

    At most 1, so that the capital stays positive for every mean in (0, 1]. It does not depend on that mean, which is
    what makes the capital grow with the mean and its inversion into an upper bound simple.
    """
    n = losses.shape[-1]
    seen = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(losses, axis=-1)) / (seen + 1)
    variance = (0.25 + np.cumsum((losses - mean) ** 2, axis=-1)) / (seen + 1)
    before = np.concatenate([np.full_like(losses[..., :1], 0.25), variance[..., :-1]], axis=-1)
    return np.asarray(np.minimum(1, np.sqrt(2 * np.log(1 / level) / (n * before))))


def upper_bound(losses: ArrayLike, epsilon: float) -> FloatArray:
    """An upper confidence bound of the mean loss: it is too low with probability at most `epsilon`.

    The smallest mean against which the gambler reaches 1 / epsilon, or 1 when there is none. It is at most delta
    exactly when `wsr(losses, delta, level=epsilon) <= epsilon`.

    `losses` (..., n) in [0, 1], `epsilon` in (0, 1). Returns (...,) in [0, 1]. Raises InputError on anything else.
    """
    table = check_unit_values("losses", losses)
    goal = np.log(1 / check_open_probability("epsilon", epsilon))
    low, high = np.zeros(table.shape[:-1]), np.ones(table.shape[:-1])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = log_capital(table, middle, epsilon) >= goal
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high
