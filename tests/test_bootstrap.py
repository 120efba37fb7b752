"""The bootstrap: equal to resampling by hand, and honest about sums that are empty."""

import numpy as np
import pytest

from calm_bench import bootstrap


def test_it_is_resampling_written_out() -> None:
    rng = np.random.default_rng(3)
    over, under = rng.random((2, 3, 20))
    value, low, high = bootstrap.ratio(over, under, seed=5, resamples=200)
    draws = np.random.default_rng(5).integers(20, size=(200, 20))
    for row in range(3):
        by_hand = [over[row, draw].sum() / under[row, draw].sum() for draw in draws]
        assert value[row] == pytest.approx(over[row].sum() / under[row].sum())
        np.testing.assert_allclose([low[row], high[row]], np.quantile(by_hand, [0.025, 0.975]))


def test_a_reduction_draws_both_rules_at_once() -> None:
    rng = np.random.default_rng(3)
    cost, count = rng.random((2, 3, 20)) + 0.5
    value, low, high = bootstrap.reduction(cost, count, 1, seed=5, resamples=200)
    draws = np.random.default_rng(5).integers(20, size=(200, 20))
    for row in range(3):
        by_hand = [
            cost[1, draw].sum() / count[1, draw].sum() / (cost[row, draw].sum() / count[row, draw].sum())
            for draw in draws
        ]
        assert value[row] == pytest.approx(cost[1].sum() / count[1].sum() / (cost[row].sum() / count[row].sum()))
        np.testing.assert_allclose([low[row], high[row]], np.quantile(by_hand, [0.025, 0.975]))
    assert low[1] == high[1] == value[1] == 1


def test_an_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(300, 80))
    _, low, high = bootstrap.ratio(samples, np.ones_like(samples), seed=1)
    assert 0.88 < np.mean((low <= 1) & (high >= 1)) < 0.98


def test_nothing_over_nothing_is_nothing() -> None:
    """A bin that no resampled text reaches counts for nothing; a bin that no text reaches at all has no value."""
    under = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    value, low, high = bootstrap.ratio(under, under, seed=0)
    assert [value[0], low[0], high[0]] == [1, 1, 1]
    assert np.isnan([value[1], low[1], high[1]]).all()
