"""The methods that are decided by a mean alone, by hand; the others are held to `certify`'s and `betting`'s tests."""

import numpy as np
import pytest

from calm_bench.calibration import ConformalRiskControl, LearnThenTest, Naive, UpperConfidenceBound, upper_bound
from calm_bench.calibration.parts import whole


def accepted(method: ConformalRiskControl | Naive, losses: np.ndarray, delta: float) -> list[bool]:
    found: list[bool] = method.judge(losses, whole(losses.shape[1]), delta, 0.05).accepted[0].tolist()
    return found


def test_crc_counts_one_more_example_of_the_largest_loss() -> None:
    """n = 19, delta = 0.1: (total + 1) / 20 <= 0.1 allows a total of 1 and no more."""
    losses = np.zeros((2, 19))
    losses[0, 0], losses[1, :2] = 1, (1, 0.01)
    assert accepted(ConformalRiskControl(), losses, 0.1) == [True, False]


def test_crc_charges_each_example_its_largest_loss_so_far() -> None:
    """Two rows with different examples wrong: each has a mean of 0.05, but their running maximum has 0.1."""
    losses = np.zeros((3, 40))
    losses[0, :2], losses[1, 2:4] = 1, 1
    assert accepted(ConformalRiskControl(), losses, 0.1) == [True, False, False]
    assert accepted(ConformalRiskControl(), losses, 0.13) == [True, True, True]


def test_crc_cannot_promise_below_one_in_n_plus_one() -> None:
    assert accepted(ConformalRiskControl(), np.zeros((1, 8)), 0.1) == [False]
    assert accepted(ConformalRiskControl(), np.zeros((1, 10)), 0.1) == [True]


def test_naive_takes_the_mean_at_its_word_and_jumps_over_failures() -> None:
    losses = np.array([[0.1] * 10, [0.3] * 10, [0.2] * 10])
    assert accepted(Naive(), losses, 0.25) == [True, False, True]


def test_ucb_accepts_while_the_bound_is_at_most_delta() -> None:
    """Also where the bound is close to delta, and for each epsilon: it is the bound at that epsilon that counts."""
    losses = np.random.default_rng(0).random((40, 300)) * np.linspace(0.3, 0.45, 40)[:, np.newaxis]
    for epsilon in (0.01, 0.05, 0.3):
        below = upper_bound(losses, epsilon) <= 0.2
        assert 1 < below.argmin() < 39
        judged = UpperConfidenceBound().judge(losses, whole(300), 0.2, epsilon).accepted[0]
        assert judged.tolist() == [bool(below[: k + 1].all()) for k in range(40)]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (LearnThenTest(), "ltt"),
        (LearnThenTest("wsr"), "ltt-wsr"),
        (LearnThenTest("hoeffding", "bonferroni"), "ltt-hoeffding-bonferroni"),
    ],
)
def test_a_choice_other_than_the_papers_is_in_the_name(method: LearnThenTest, name: str) -> None:
    assert method.name == name
