"""The betting bound: its definition step by step, its inversion, and that the order of a file gives nothing away."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm_bench.calibration import upper_bound, wsr
from calm_bench.calibration.betting import bets, log_capital
from calm_bench.errors import InputError

losses_strategy = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def slow_bets(losses: list[float], level: float) -> list[float]:
    """The definition, one example at a time, looking only at those before it."""
    stakes = []
    for i in range(len(losses)):
        means = [(0.5 + sum(losses[: j + 1])) / (j + 2) for j in range(i)]
        variance = (0.25 + sum((losses[j] - means[j]) ** 2 for j in range(i))) / (i + 1)
        stakes.append(min(1.0, sqrt(2 * log(1 / level) / (len(losses) * variance))))
    return stakes


@given(losses_strategy, st.floats(0.01, 0.99))
def test_bets_are_those_of_the_definition(losses: list[float], level: float) -> None:
    np.testing.assert_allclose(bets(np.array(losses), level), slow_bets(losses, level))


@given(losses_strategy, st.floats(0.01, 0.99))
def test_capital_is_the_largest_product_in_the_shuffled_order(losses: list[float], mean: float) -> None:
    shuffled = np.array(losses)[np.random.default_rng(0).permutation(len(losses))]
    factors = 1 - np.array(slow_bets(list(shuffled), 0.05)) * (shuffled - mean)
    assert log_capital(np.array(losses), mean, 0.05) == pytest.approx(log(np.cumprod(factors).max()), abs=1e-9)


@settings(max_examples=50)
@given(losses_strategy, st.floats(0.01, 0.99), st.floats(0.01, 0.5))
def test_upper_bound_inverts_the_p_value(losses: list[float], delta: float, epsilon: float) -> None:
    bound = float(upper_bound(losses, epsilon))
    if abs(bound - delta) > 1e-6:
        assert (bound <= delta) == (wsr(losses, delta, level=epsilon) <= epsilon)


def test_upper_bound_of_nothing_known_is_one() -> None:
    assert upper_bound([0.0], 0.05) == 1


def test_upper_bound_is_above_the_mean_and_comes_down_with_n() -> None:
    rng = np.random.default_rng(0)
    bounds = [float(upper_bound(rng.beta(1, 9, size=n), 0.05)) for n in (50, 500, 5000)]
    assert bounds == sorted(bounds, reverse=True)
    assert 0.1 < bounds[-1] < 0.11
    assert upper_bound(rng.random((2, 3, 40)), 0.05).shape == (2, 3)


def test_a_sorted_file_is_no_evidence() -> None:
    """Losses of mean 0.3, easiest first: a gambler in file order would grow rich and certify a mean below 0.25."""
    rng = np.random.default_rng(1)
    rejected = [wsr(np.sort(rng.beta(0.3, 0.7, size=300)), 0.25) <= 0.05 for _ in range(200)]
    assert np.mean(rejected) <= 0.05


@pytest.mark.parametrize("epsilon", [0, 1, 2, np.nan])
def test_refuses_epsilon(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon="):
        upper_bound([0.5], epsilon)
