"""The interval of a mean over overlapping splits: its formula, and how often it calls a true promise broken."""

import numpy as np
import pytest
from scipy import stats

from calm_bench.calibration import METHODS, trials
from calm_bench.calibration.held_out import held_out
from calm_bench.calibration.parts import part_sizes, part_totals, random_parts
from calm_bench.errors import InputError

DELTA, EPSILON, N, TRIALS, DRAWS = 0.1, 0.1, 200, 20, 120
# Mean losses of a population's thresholds: the first that is too much is barely so.
MEANS = np.array([0.02, 0.06, 0.085, 0.098, 0.103, 0.12, 0.2])


def test_without_overlap_it_is_the_t_interval() -> None:
    """A share of held-out examples that goes to zero leaves Student's interval of independent values."""
    values = np.random.default_rng(0).random(12)
    found = held_out(values, n_calibration=10**9, n=10**9 + 1)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((values.mean(), *expected))


def test_overlap_widens_it_by_the_ratio_of_the_parts() -> None:
    values = np.random.default_rng(0).random(50)
    narrow, wide = held_out(values, 10**9, 10**9 + 1), held_out(values, 80, 100)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(1 + 50 * 20 / 80))


def test_one_split_has_no_interval_and_refutes_nothing() -> None:
    lone = held_out([0.9], 80, 100)
    assert (lone.mean, np.isnan(lone.low), np.isnan(lone.high)) == (0.9, True, True)
    assert not lone.broke(0.1)


@pytest.mark.parametrize(("values", "n_calibration"), [([0.1, 1.2], 80), ([], 80), ([0.1], 100), ([0.1], 0)])
def test_refuses(values: list[float], n_calibration: int) -> None:
    with pytest.raises(InputError):
        held_out(values, n_calibration, 100)


def checks(method: str, means: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Over DRAWS samples: the mean true loss at what the splits chose, and whether the promise is called broken."""
    rng = np.random.default_rng(seed)
    true, called = [], []
    for draw in range(DRAWS):
        losses = np.where(rng.random((len(means), N)) < means[:, np.newaxis], 1.0, 0.0)
        found = trials(
            losses,
            np.linspace(0.9, 0.1, len(means)),
            delta=DELTA,
            epsilon=EPSILON,
            method=method,
            n_trials=TRIALS,
            seed=draw,
        )
        tested = held_out(found.test_means(losses, np.zeros(N)), found.n_calibration, N)
        true.append(np.append(means, 0.0)[found.index].mean())
        called.append(tested.broke(DELTA))
    return np.array(true), np.array(called)


@pytest.mark.parametrize("method", METHODS)
def test_true_promises_are_seldom_called_broken(method: str) -> None:
    """Two-sided 95%: at most one in 40 by its level; three standard errors of DRAWS draws on top."""
    true, called = checks(method, MEANS, seed=1)
    kept = true <= DELTA
    if method != "naive":  # which promises nothing
        assert kept.mean() > 0.7
    assert called[kept].mean() <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / kept.sum())


def test_a_promise_that_is_broken_is_found() -> None:
    """Losses of twice delta on average, as at a threshold that came from other data."""
    called = []
    for draw in range(DRAWS):
        losses = (np.random.default_rng(draw).random((1, N)) < 2 * DELTA).astype(float)
        test = ~random_parts(N, TRIALS, 0.8, seed=draw)
        called.append(held_out((part_totals(losses, test) / part_sizes(test))[:, 0], 160, N).broke(DELTA))
    assert np.mean(called) > 0.8
