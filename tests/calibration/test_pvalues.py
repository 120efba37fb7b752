"""P-values: by hand, against MAPIE, against the paper's arithmetic, and their general properties."""

from collections.abc import Callable
from math import comb, e, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.optimize import brentq

from calm_bench.calibration import hoeffding, hoeffding_bentkus, wsr
from calm_bench.calibration.pvalues import (
    hoeffding_bentkus_from_total,
    hoeffding_from_total,
    kl_hoeffding_from_total,
)
from calm_bench.errors import InputError

PVALUES = [hoeffding, hoeffding_bentkus, wsr]
PValue = Callable[..., np.ndarray]

losses_strategy = st.lists(st.floats(0, 1), min_size=1, max_size=40)
deltas = st.floats(0.01, 0.99)


def test_hoeffding_by_hand() -> None:
    """n = 10, mean 0.1, delta 0.5: exp(-2 10 0.4^2) = exp(-3.2)."""
    losses = np.array([1.0] + [0.0] * 9)
    assert hoeffding(losses, 0.5) == pytest.approx(exp(-3.2))


def test_hoeffding_bentkus_by_hand_where_the_first_term_is_smaller() -> None:
    """n = 10, mean 0.1, delta 0.5: exp(-10 kl) = 0.2^-1 1.8^-9 = 0.0252; Bentkus e (1 + 10) / 1024 = 0.0292."""
    losses = np.array([1.0] + [0.0] * 9)
    assert e * 11 / 1024 > 1 / (0.2 * 1.8**9)
    assert hoeffding_bentkus(losses, 0.5) == pytest.approx(1 / (0.2 * 1.8**9))


def test_hoeffding_bentkus_by_hand_where_bentkus_is_smaller() -> None:
    """n = 100, mean 0.2, delta 0.5: Bentkus e P[Binomial(100, 0.5) <= 20]; a total of 19.5 is rounded up to 20."""
    n, total = 100, 20
    losses = np.array([1.0] * total + [0.0] * (n - total))
    bentkus = e * sum(comb(n, k) for k in range(total + 1)) / 2**n
    first = exp(-n * (0.2 * log(0.2 / 0.5) + 0.8 * log(0.8 / 0.5)))
    assert bentkus < first
    assert hoeffding_bentkus(losses, 0.5) == pytest.approx(bentkus)
    losses[0] = 0.5
    assert hoeffding_bentkus(losses, 0.5) == pytest.approx(bentkus)


def test_wsr_by_hand() -> None:
    """Two losses of 0, delta 0.5, level 0.5, in any order: bets from variances 0.25 and (0.25 + 0.25^2) / 2."""
    first = min(1, sqrt(2 * log(2) / (2 * 0.25)))
    second = min(1, sqrt(2 * log(2) / (2 * (0.25 + 0.25**2) / 2)))
    assert first == second == 1
    assert wsr([0.0, 0.0], 0.5, level=0.5) == pytest.approx(1 / 1.5**2)
    first, second = sqrt(2 * log(1 / 0.9) / 0.5), sqrt(2 * log(1 / 0.9) / 0.3125)
    assert wsr([0.0, 0.0], 0.5, level=0.9) == pytest.approx(1 / ((1 + first / 2) * (1 + second / 2)))


@pytest.mark.parametrize("n", [1, 7, 64, 1024, 9192])
def test_hoeffding_bentkus_equals_mapie(n: int) -> None:
    rng = np.random.default_rng(n)
    smooth = rng.beta(0.4, 2.0, size=(30, n)) * rng.uniform(0, 1, size=(30, 1))
    extremes = np.stack([np.zeros(n), np.ones(n)])
    binary = (rng.random((30, n)) < rng.uniform(0, 0.6, size=(30, 1))).astype(float)
    # MAPIE rounds n * mean up, which for a whole number of losses of 1 may land one too high: it is asked where it
    # does not (the means that come back whole).
    binary = binary[n * binary.mean(axis=1) == binary.sum(axis=1)]
    losses = np.concatenate([smooth, extremes, binary])
    levels = np.array([0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9])
    theirs = compute_hoeffding_bentkus_p_value(losses.mean(axis=1), n, levels)
    ours = np.stack([hoeffding_bentkus(losses, delta) for delta in levels], axis=1)
    np.testing.assert_allclose(ours, np.minimum(theirs, 1), rtol=1e-9, atol=1e-300)


# Section 4 and Appendix of CALM, by arithmetic: the largest calibration mean accepted at epsilon = 0.05.
@pytest.mark.parametrize(
    ("n", "delta", "plain", "kl"),
    [
        (1200, 0.02, None, 0.0109),
        (1200, 0.05, 0.0147, 0.0354),
        (1200, 0.10, 0.0647, 0.0795),
        (1200, 0.25, 0.2147, 0.2198),
        (8456, 0.02, 0.0067, 0.0164),
        (9192, 0.02, 0.0072, 0.0165),
        (9192, 0.05, 0.0372, 0.0445),
        (9192, 0.10, 0.0872, 0.0924),
        (9192, 0.25, 0.2372, 0.2390),
    ],
)
def test_largest_accepted_mean(n: int, delta: float, plain: float | None, kl: float) -> None:
    def largest(bound: PValue) -> float | None:
        def excess(mean: float) -> float:
            return float(bound(np.array(n * mean), n, delta)) - 0.05

        return None if excess(0) > 0 else brentq(excess, 0, delta)

    assert largest(hoeffding_from_total) == (None if plain is None else pytest.approx(plain, abs=5.1e-5))
    assert largest(kl_hoeffding_from_total) == pytest.approx(kl, abs=5.1e-5)
    # The minimum of two terms accepts whatever the first accepts.
    assert hoeffding_bentkus_from_total(np.array(n * (kl - 1e-4)), n, delta) <= 0.05


@pytest.mark.parametrize("p_value", PVALUES)
@given(losses=losses_strategy, delta=deltas)
def test_is_a_probability_and_says_nothing_for_a_bad_mean(p_value: PValue, losses: list[float], delta: float) -> None:
    p = float(p_value(losses, delta))
    assert 0 <= p <= 1
    if p_value is not wsr and np.mean(losses) >= delta:
        assert p == 1


@pytest.mark.parametrize("p_value", PVALUES)
@given(losses=losses_strategy, pair=st.tuples(deltas, deltas))
def test_a_looser_promise_is_easier(p_value: PValue, losses: list[float], pair: tuple[float, float]) -> None:
    assert p_value(losses, max(pair)) <= p_value(losses, min(pair)) + 1e-12


@pytest.mark.parametrize("p_value", [hoeffding, hoeffding_bentkus])
@given(losses=losses_strategy, delta=deltas, data=st.data())
def test_a_larger_loss_is_never_better(p_value: PValue, losses: list[float], delta: float, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(losses) - 1))
    worse = losses.copy()
    worse[place] = data.draw(st.floats(losses[place], 1))
    assert p_value(worse, delta) >= p_value(losses, delta) - 1e-12


@given(losses=losses_strategy, delta=deltas)
def test_hoeffding_bentkus_is_never_weaker_than_hoeffding(losses: list[float], delta: float) -> None:
    assert hoeffding_bentkus(losses, delta) <= hoeffding(losses, delta) + 1e-12


def test_betting_wins_where_losses_vary_little() -> None:
    losses = np.full(500, 0.08)
    assert wsr(losses, 0.1) < hoeffding_bentkus(losses, 0.1) / 10


@pytest.mark.parametrize("p_value", PVALUES)
def test_leading_axes_are_free(p_value: PValue) -> None:
    losses = np.random.default_rng(0).random((2, 3, 20))
    together = p_value(losses, 0.7)
    assert together.shape == (2, 3)
    for place in np.ndindex(2, 3):
        assert together[place] == pytest.approx(float(p_value(losses[place], 0.7)))


@pytest.mark.parametrize("p_value", PVALUES)
@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.5, np.nan, np.inf, None, "much"])
def test_refuses_delta(p_value: PValue, delta: object) -> None:
    with pytest.raises(InputError, match=r"delta=.*strictly between 0 and 1"):
        p_value([0.5], delta)


@pytest.mark.parametrize("p_value", PVALUES)
@pytest.mark.parametrize("losses", [[], [[]], 0.5, [1.5], [-0.5], [np.nan], "x", [[0.1], [0.1, 0.2]]])
def test_refuses_losses(p_value: PValue, losses: object) -> None:
    with pytest.raises(InputError, match=r"^losses"):
        p_value(losses, 0.1)


def test_refuses_level() -> None:
    with pytest.raises(InputError, match="level=0"):
        wsr([0.5], 0.1, level=0)
