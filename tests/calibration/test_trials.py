"""Random splits: each trial certifies exactly what `certify` would on its part, and is judged on the rest."""

import time
from typing import Any

import numpy as np
import pytest

from calm_bench.calibration import METHODS, certify, trials
from calm_bench.errors import InputError

GRID = np.linspace(0.95, 0.05, 7)
SETTINGS: dict[str, Any] = {"delta": 0.1, "epsilon": 0.05}


def sample(n: int = 400, seed: int = 0) -> np.ndarray:
    """Losses (7, n) that grow, on average, as the threshold falls."""
    rng = np.random.default_rng(seed)
    return rng.random((7, n)) * np.linspace(0.05, 0.35, 7)[:, np.newaxis]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("delta", [0.08, 0.15])
def test_each_trial_is_a_certificate_on_its_part(method: str, delta: float) -> None:
    losses = sample(150)
    result = trials(losses, GRID, method=method, n_trials=12, seed=3, delta=delta, epsilon=0.05)
    for trial, part in enumerate(result.calibration):
        one = certify(
            losses[:, part], GRID, objective="risk", delta=delta, epsilon=0.05, measure="state", method=method
        )
        assert result.index[trial] == (-1 if one.index is None else one.index)
        np.testing.assert_equal(result.thresholds[trial], np.nan if one.threshold is None else one.threshold)
        if one.p_value is None:
            assert np.isnan(result.p_values[trial])
        else:
            assert result.p_values[trial] == pytest.approx(one.p_value)


def test_parts_are_random_disjoint_and_of_the_right_size() -> None:
    result = trials(sample(), GRID, **SETTINGS)
    assert result.calibration.shape == (50, 400)
    assert (result.calibration.sum(axis=1) == 320).all()
    assert result.n_calibration == 320
    assert (result.calibration ^ result.test).all()
    # Each example is held out in a fifth of 50 trials: 10, with a standard deviation of 2.8.
    held_out = result.test.sum(axis=0)
    assert held_out.mean() == 10
    assert 2 < held_out.std() < 3.6


def test_a_seed_fixes_the_splits_whatever_is_certified() -> None:
    first = trials(sample(), GRID, seed=5, **SETTINGS)
    again = trials(sample(seed=9), GRID, seed=5, method="crc", delta=0.2, epsilon=0.1)
    other = trials(sample(), GRID, seed=6, **SETTINGS)
    assert (first.calibration == again.calibration).all()
    assert (first.calibration != other.calibration).any()


def test_nothing_accepted_is_the_full_model_in_every_trial() -> None:
    losses = np.ones((7, 50))
    result = trials(losses, GRID, **SETTINGS)
    assert (result.index == -1).all()
    assert np.isnan(result.thresholds).all()
    assert np.isnan(result.p_values).all()
    np.testing.assert_array_equal(result.test_means(losses, np.zeros(50)), 0)


def test_test_means_are_those_of_the_held_out_part() -> None:
    losses = sample(150)
    layers, full = np.random.default_rng(1).uniform(1, 8, size=(7, 150)), np.full(150, 8.0)
    result = trials(losses, GRID, n_trials=40, delta=0.08, epsilon=0.05)
    assert set(result.index.tolist()) == {-1, 0}  # some trials certify, some do not
    expected = [
        (full if index < 0 else layers[index])[test].mean()
        for index, test in zip(result.index, result.test, strict=True)
    ]
    np.testing.assert_allclose(result.test_means(layers, full), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": 0}, "n_trials=0"),
        ({"calibration_fraction": 1.0}, "calibration_fraction=1.0"),
        ({"calibration_fraction": 0.001}, "leaves calibration or test empty"),
        ({"calibration_fraction": 0.999}, "leaves calibration or test empty"),
        ({"delta": 0}, "delta=0"),
        ({"epsilon": 1}, "epsilon=1"),
        ({"method": "best"}, "method='best'"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trials(sample(100), GRID, **(SETTINGS | options))


@pytest.mark.parametrize(
    ("values", "full"), [((7, 99), (100,)), ((7, 100), (99,)), ((100,), (100,)), ((1, 100), (100,))]
)
def test_refuses_values_that_do_not_match(values: tuple[int, ...], full: tuple[int, ...]) -> None:
    result = trials(np.zeros((7, 100)), GRID, **SETTINGS)
    with pytest.raises(InputError, match="must be"):
        result.test_means(np.zeros(values), np.zeros(full))


def test_the_papers_protocol_takes_no_time() -> None:
    """10,000 examples, 20 thresholds, 50 trials, 4 tolerances, 2 objectives: under 2 s of one core."""
    grid = np.linspace(0.95, 0.05, 20)
    losses = np.random.default_rng(0).random((20, 10_000)) * np.linspace(0, 0.5, 20)[:, np.newaxis]
    start = time.process_time()
    for table in (losses, losses / 5):
        for delta in (0.02, 0.05, 0.1, 0.25):
            trials(table, grid, delta=delta, epsilon=0.05)
    assert time.process_time() - start < 2
