"""The two losses that a certificate bounds, one value in [0, 1] per example (CALM section 4, Eq. 10 and 11)."""

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import FloatArray, check_unit_values
from calm_bench.errors import InputError


def textual_loss(similarity_to_full: ArrayLike) -> FloatArray:
    """Textual consistency: L = D(early, full) = 1 - m(early, full), Eq. 10.

    `similarity_to_full` (..., n) is the similarity of each early text to the full model's, in [0, 1]. Returns (..., n).
    Raises InputError on an empty array, NaN, or a value out of range.
    """
    return 1 - check_unit_values("similarity_to_full", similarity_to_full)


def risk_loss(score_early: ArrayLike, score_full: ArrayLike) -> FloatArray:
    """Risk consistency: L = max(0, R(early) - R(full)) with R = 1 - score against the references, Eq. 11.

    `score_early` (..., n) and `score_full` (n,) are per-example scores in [0, 1], higher is better. Returns (..., n).
    The cut at zero is made for each example BEFORE any mean: examples on which the early text is better do not pay
    for those on which it is worse. This is conservative: mean(L) >= mean(R(early)) - mean(R(full)).
    Raises InputError on an empty array, NaN, a value out of range, or lengths that differ.
    """
    early = check_unit_values("score_early", score_early)
    full = check_unit_values("score_full", score_full)
    if early.shape[-1] != full.shape[-1] or full.ndim > early.ndim:
        raise InputError(f"score_full with shape {full.shape}: must match score_early's, {early.shape}")
    return np.maximum(0, full - early)
