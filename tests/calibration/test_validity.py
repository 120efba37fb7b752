"""Does each method keep its promise? Seeded simulations with known means, and a control that must break it.

A promise is broken when the TRUE mean loss at the chosen threshold is above delta. With probability 1 - epsilon it must
hold, so over many calibration samples the broken share may exceed epsilon only by the simulation's own error.
"""

import numpy as np
import pytest

from calm_bench.calibration import (
    METHODS,
    ConformalRiskControl,
    LearnThenTest,
    Method,
    Naive,
    UpperConfidenceBound,
)
from calm_bench.calibration.methods import shared_level
from calm_bench.calibration.parts import whole
from calm_bench.calibration.procedures import last_accepted

DELTA, EPSILON, REPEATS = 0.1, 0.1, 800
# Three standard errors of a share of EPSILON, and of a mean loss whose values are at most 0.2 apart.
LARGEST_SHARE = EPSILON + 3 * np.sqrt(EPSILON * (1 - EPSILON) / REPEATS)
LARGEST_MEAN = DELTA + 3 * 0.1 / np.sqrt(REPEATS)

# The first mean above delta is barely so: the hardest case, where a test has no slack.
MEANS = {
    "monotone": np.array([0.01, 0.04, 0.07, 0.09, 0.101, 0.102, 0.11, 0.13, 0.2]),
    "not monotone": np.array([0.03, 0.101, 0.02, 0.104, 0.09, 0.101, 0.08, 0.102, 0.105, 0.101, 0.103, 0.102]),
}
WITH_PROBABILITY: list[Method] = [
    LearnThenTest(),
    LearnThenTest("hoeffding"),
    LearnThenTest("wsr"),
    LearnThenTest(procedure="bonferroni"),
    UpperConfidenceBound(),
]


def draw(rng: np.random.Generator, shape: str, law: str, n: int) -> np.ndarray:
    """Losses (K, n) of independent examples with means MEANS[shape]; an example's K losses depend on each other.

    "binary": 0 or 1, one uniform draw per example, so that monotone means give monotone losses. "spread": most of the
    loss in few examples, the rest small; drawn independently for each threshold.
    """
    means = MEANS[shape][:, np.newaxis]
    if law == "binary":
        return np.where(rng.random(n) < means, 1.0, 0.0)
    return np.asarray(means * rng.choice([0.5, 4.0], p=[6 / 7, 1 / 7], size=(len(means), n)))


def chosen_means(method: Method, shape: str, law: str, n: int) -> np.ndarray:
    """True mean loss (REPEATS,) at the threshold chosen on each of REPEATS samples; 0 for the full model."""
    rng = np.random.default_rng([n, len(shape), len(law)])
    judged = [method.judge(draw(rng, shape, law, n), whole(n), DELTA, EPSILON).accepted[0] for _ in range(REPEATS)]
    return np.asarray(np.append(MEANS[shape], 0.0)[last_accepted(np.array(judged))])


@pytest.mark.parametrize("n", [40, 200, 1000])
@pytest.mark.parametrize("law", ["binary", "spread"])
@pytest.mark.parametrize("shape", list(MEANS))
@pytest.mark.parametrize("method", WITH_PROBABILITY, ids=lambda method: method.name)
def test_promise_is_kept_with_probability(method: Method, shape: str, law: str, n: int) -> None:
    assert np.mean(chosen_means(method, shape, law, n) > DELTA) <= LARGEST_SHARE


@pytest.mark.parametrize("n", [40, 200, 1000])
@pytest.mark.parametrize("law", ["binary", "spread"])
@pytest.mark.parametrize("shape", list(MEANS))
def test_conformal_risk_control_keeps_its_promise_on_average(shape: str, law: str, n: int) -> None:
    assert chosen_means(ConformalRiskControl(), shape, law, n).mean() <= LARGEST_MEAN


@pytest.mark.parametrize("n", [40, 200, 1000])
@pytest.mark.parametrize("law", ["binary", "spread"])
@pytest.mark.parametrize("shape", list(MEANS))
def test_naive_control_breaks_the_same_promise(shape: str, law: str, n: int) -> None:
    assert np.mean(chosen_means(Naive(), shape, law, n) > DELTA) > LARGEST_SHARE


def test_naive_control_breaks_the_promise_on_average() -> None:
    """Many thresholds a little too low: the luckiest looks good, and its true mean is above delta."""
    rng = np.random.default_rng(0)
    means = np.append(np.full(60, 0.14), 0.0)

    def mean_of(method: Method) -> float:
        samples = [(rng.random((60, 100)) < 0.14).astype(float) for _ in range(200)]
        judged = [method.judge(losses, whole(100), DELTA, EPSILON).accepted[0] for losses in samples]
        return float(means[last_accepted(np.array(judged))].mean())

    assert mean_of(Naive()) > DELTA + 0.02
    assert mean_of(ConformalRiskControl()) <= DELTA


@pytest.mark.parametrize("method", [*WITH_PROBABILITY, ConformalRiskControl()], ids=lambda method: method.name)
def test_method_is_not_merely_silent(method: Method) -> None:
    """With enough examples it finds a threshold well below the safest."""
    assert np.median(chosen_means(method, "monotone", "binary", 1000)) >= 0.04


def test_every_named_method_is_simulated() -> None:
    simulated = {method.name for method in (*WITH_PROBABILITY, ConformalRiskControl(), Naive())}
    assert set(METHODS) <= simulated


@pytest.mark.parametrize("method", WITH_PROBABILITY, ids=lambda method: method.name)
def test_promises_made_together_all_hold_with_probability(method: Method) -> None:
    """Ten promises about independent losses, each barely not to be made: apart, one of them breaks far more often."""
    rng, together, n = np.random.default_rng(5), 10, 200
    any_broken = {1: 0, together: 0}
    for _ in range(REPEATS // 4):
        samples = [(rng.random((1, n)) < 0.101).astype(float) for _ in range(together)]
        for share in any_broken:
            level = shared_level(method, EPSILON, share)
            any_broken[share] += any(method.judge(one, whole(n), DELTA, level).accepted.any() for one in samples)
    share_of = {share: count / (REPEATS // 4) for share, count in any_broken.items()}
    assert share_of[together] <= EPSILON + 3 * np.sqrt(EPSILON * (1 - EPSILON) / (REPEATS // 4))
    if method.name == "ucb":  # the tightest of them shows that apart they would not do
        assert share_of[1] > 2 * EPSILON
