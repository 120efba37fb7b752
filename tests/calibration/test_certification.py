"""A run's promises: over clusters, all at once, of the static baseline, and what is said where none can be made."""

from dataclasses import replace

import numpy as np
import pytest

from calm_bench.calibration import METHODS, Grid, Outcomes, Promise, Settings, cluster_means, promises
from calm_bench.errors import InputError

E, DEPTH = 240, 4
CLUSTERS = np.arange(E) // 6
SETTINGS = Settings(epsilon=0.1, method=METHODS["ltt"], trials=5, fraction=0.8, seed=0)


@pytest.fixture
def outcomes() -> Outcomes:
    """Six rules: the full model, two thresholds of a measure, three static layers; more losses the fewer layers."""
    rng = np.random.default_rng(0)
    losses = rng.random((6, E)) * np.array([0, 0.05, 0.3, 0.04, 0.2, 1.0])[:, np.newaxis]
    tokens = rng.integers(1, 9, (1, E)) * np.ones((6, 1))
    layers = np.array([4, 2, 1.5, 3, 2, 1])[:, np.newaxis] * tokens
    grids = [
        Grid("softmax", np.array([0.9, 0.5]), np.array([1, 2])),
        Grid("static", np.array([3.0, 2.0, 1.0]), np.array([3, 4, 5])),
    ]
    return Outcomes({"textual": losses, "risk": losses / 2}, tokens, layers, layers, 0, grids, CLUSTERS)


def made(outcomes: Outcomes, deltas: list[float], **changes: object) -> dict[str, Promise]:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    found = list(promises(outcomes, {"textual": deltas}, settings))
    return {promise.certificate.measure: promise for promise in found}


def test_the_static_baseline_is_certified_beside_the_measures(outcomes: Outcomes) -> None:
    found = made(outcomes, [0.1])
    assert (found["softmax"].rule, found["static"].rule) == (1, 3)
    assert found["static"].certificate.threshold == 3
    assert (found["softmax"].mean_exit_layer, found["static"].mean_exit_layer) == (2, 3)


def test_over_clusters_n_is_their_number_and_none_is_split(outcomes: Outcomes) -> None:
    promise = made(outcomes, [0.12], unit="cluster")["softmax"]
    assert (promise.certificate.unit, promise.certificate.n) == ("cluster", E // 6)
    check = promise.check
    assert check is not None
    means = cluster_means(outcomes.losses["textual"], CLUSTERS)
    for trial, (test, rule) in enumerate(zip(check.test, check.rule, strict=True)):
        held_out = np.unique(CLUSTERS[test])
        assert not set(held_out) & set(CLUSTERS[~test])
        assert check.test_loss[trial] == pytest.approx(means[rule, held_out].mean())
        own = outcomes.layers[rule, test].sum() / outcomes.tokens[rule, test].sum()
        assert check.mean_exit_layer[trial] == pytest.approx(own)
    assert {row["unit"] for row in promise.rows()} == {"cluster"}
    assert [row["n_calibration"] for row in promise.rows()] == [40, *[32] * 5]


def test_without_clusters_they_are_refused(outcomes: Outcomes) -> None:
    with pytest.raises(InputError, match="task.cluster names their column"):
        made(replace(outcomes, clusters=None), [0.1], unit="cluster")


def test_where_none_is_certified_the_nearest_tolerance_is_named(outcomes: Outcomes) -> None:
    found = made(
        outcomes,
        [
            0.02,
        ],
    )["softmax"]
    assert found.rule == outcomes.full
    assert found.nearest is not None
    delta, rule = found.nearest
    assert made(outcomes, [delta])["softmax"].rule == rule == 1
    assert made(outcomes, [delta - 0.001])["softmax"].rule == outcomes.full
    whole, *trials = found.rows()
    assert (whole["nearest_delta"], whole["nearest_rule"]) == (delta, 1)
    assert all(row["nearest_rule"] is None for row in trials)
    assert made(outcomes, [0.1])["softmax"].nearest is None


def test_together_the_nearest_tolerance_is_tested_at_its_share_too(outcomes: Outcomes) -> None:
    alone, shared = (made(outcomes, [0.02], together=together)["softmax"].nearest for together in (1, 50))
    assert alone is not None
    assert shared is not None
    assert shared[0] > alone[0]


def test_without_trials_and_for_some_measures_only(outcomes: Outcomes) -> None:
    settings = replace(SETTINGS, trials=0)
    (promise,) = promises(outcomes, {"risk": [0.2]}, settings, measures=["softmax"])
    assert promise.check is None
    (row,) = promise.rows()
    assert (row["measure"], row["trial"]) == ("softmax", None)
