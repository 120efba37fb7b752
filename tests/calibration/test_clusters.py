"""Clusters as the unit: means by hand, and the promise for new clusters that examples as the unit do not keep."""

import numpy as np
import pandas as pd

from calm_bench.calibration import METHODS, trials
from calm_bench.calibration.clusters import cluster_means, cluster_numbers
from calm_bench.calibration.parts import whole
from calm_bench.calibration.procedures import last_accepted


def test_numbers_are_given_in_order_of_first_appearance() -> None:
    np.testing.assert_array_equal(cluster_numbers(["b", "a", "b", "c"]), [0, 1, 0, 2])


def test_means_are_those_of_a_groupby() -> None:
    rng = np.random.default_rng(0)
    values, names = rng.random((4, 100)), rng.choice(list("pqrstu"), 100)
    numbers = cluster_numbers(names.tolist())
    assert numbers is not None
    expected = pd.DataFrame(values.T).groupby(numbers).mean().to_numpy().T
    np.testing.assert_allclose(cluster_means(values, numbers), expected)


def test_where_one_example_has_none_there_are_no_clusters() -> None:
    assert cluster_numbers(["a", None]) is None


def test_over_clusters_the_promise_holds_for_new_clusters_and_over_examples_it_does_not() -> None:
    """30 articles of 40 questions; an article's questions are alike, and its mean loss is barely too much."""
    delta, epsilon, repeats = 0.1, 0.1, 400
    rng = np.random.default_rng(0)
    broken = {"example": 0, "cluster": 0}
    numbers = np.repeat(np.arange(30), 40)
    for _ in range(repeats):
        own = rng.beta(0.101, 0.899, 30)  # of mean 0.101: each acceptance breaks the promise
        losses = (rng.random((1, 1200)) < own[numbers]).astype(float)
        for unit, table in (("example", losses), ("cluster", cluster_means(losses, numbers))):
            accepted = METHODS["ltt"].judge(table, whole(table.shape[1]), delta, epsilon).accepted
            broken[unit] += int(last_accepted(accepted[0])) >= 0
    assert broken["example"] / repeats > 2 * epsilon
    assert broken["cluster"] / repeats <= epsilon + 3 * np.sqrt(epsilon * (1 - epsilon) / repeats)


def test_splits_keep_a_cluster_together() -> None:
    numbers = np.random.default_rng(0).permutation(np.arange(60) % 10)
    losses = cluster_means(np.zeros((2, 60)), numbers)
    found = trials(losses, [0.9, 0.5], delta=0.3, epsilon=0.1, n_trials=7)
    parts = found.seen_as(numbers).calibration
    assert parts.shape == (7, 60)
    for part in parts:
        assert not set(numbers[part]) & set(numbers[~part])
