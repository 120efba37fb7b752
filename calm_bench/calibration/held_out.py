"""What the held-out parts of overlapping random splits say of a mean loss, and how surely."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from calm_bench.calibration.checks import check_unit_values
from calm_bench.errors import InputError

LEVEL = 0.95


class HeldOut(NamedTuple):
    """A mean with its 95% interval; `low` and `high` are NaN where there is one split only."""

    mean: float
    low: float
    high: float

    def broke(self, delta: float) -> bool:
        """Whether a mean loss of at most `delta` is refuted: the whole interval lies above it."""
        return self.low > delta


def held_out(test_losses: ArrayLike, n_calibration: int, n: int) -> HeldOut:
    """The mean over splits of each split's held-out mean loss, with the corrected resampled t-interval.

    Splits share examples, so their spread understates how far their mean lies from the truth; Nadeau and Bengio (2003)
    add what the ratio of the parts says: s^2 (1 / trials + n_test / n_calibration), trials - 1 degrees of freedom.

    `test_losses` (trials,) in [0, 1]. `n_calibration` of the `n` examples (or clusters) calibrated in each split, the
    others were held out. Raises InputError on values out of range.
    """
    losses = check_unit_values("test_losses", test_losses)
    if not 1 <= n_calibration < n:
        raise InputError(f"n_calibration={n_calibration}: must be at least 1 and below n={n}")
    trials, mean = len(losses), float(losses.mean())
    if trials == 1:
        return HeldOut(mean, np.nan, np.nan)
    variance = losses.var(ddof=1) * (1 / trials + (n - n_calibration) / n_calibration)
    margin = float(stdtrit(trials - 1, (1 + LEVEL) / 2) * np.sqrt(variance))
    return HeldOut(mean, mean - margin, mean + margin)
