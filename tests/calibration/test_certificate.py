"""The certificate: the threshold a brute-force search finds, and a sentence that says all of it."""

from dataclasses import FrozenInstanceError
from math import ceil, comb, e, exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.calibration import METHODS, Certificate, LearnThenTest, Verdict, certify
from calm_bench.errors import InputError

GRID = [0.9, 0.7, 0.5, 0.3]


def certificate(losses: object = None, thresholds: object = None, **options: object) -> Certificate:
    settings = {"objective": "textual", "delta": 0.1, "epsilon": 0.05, "measure": "softmax"} | options
    losses = np.zeros((4, 200)) if losses is None else losses
    return certify(losses, GRID if thresholds is None else thresholds, **settings)  # type: ignore[arg-type]


def slow_p_value(losses: list[float], delta: float) -> float:
    """Hoeffding-Bentkus, as printed, in plain Python."""
    n, total = len(losses), sum(losses)
    a = min(total / n, delta)
    kl = (a * log(a / delta) if a else 0) + (1 - a) * log((1 - a) / (1 - delta))
    binomial = sum(comb(n, k) * delta**k * (1 - delta) ** (n - k) for k in range(ceil(total) + 1))
    return min(exp(-n * kl), e * binomial)


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=12, max_size=12), min_size=1, max_size=5),
    st.sampled_from([0.1, 0.3, 0.6]),
    st.sampled_from([0.05, 0.2, 0.5]),
)
def test_equals_a_brute_force_search(losses: list[list[float]], delta: float, epsilon: float) -> None:
    """The lowest threshold such that it and every higher one has a p-value of at most epsilon."""
    grid = list(np.linspace(0.95, 0.05, len(losses)))
    p_values = [slow_p_value(row, delta) for row in losses]
    valid = [k for k in range(len(grid)) if all(p <= epsilon for p in p_values[: k + 1])]
    found = certificate(losses, grid, delta=delta, epsilon=epsilon)
    assert found.threshold == (min(grid[k] for k in valid) if valid else None)
    assert found.index == (max(valid) if valid else None)
    assert found.p_value == (pytest.approx(p_values[max(valid)]) if valid else None)


def test_stops_at_the_first_failure_and_returns_the_last_success() -> None:
    losses = np.stack([np.zeros(200), np.full(200, 0.02), np.ones(200), np.zeros(200)])
    assert (certificate(losses).threshold, certificate(losses).index) == (0.7, 1)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_accepted_means_the_full_model(method: str) -> None:
    found = certificate(np.ones((4, 200)), method=method)
    assert (found.threshold, found.index, found.p_value) == (None, None, None)
    assert "the full model is used" in found.promise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("losses", [np.zeros((4, 321)), np.ones((4, 321))])
def test_promise_is_one_sentence_with_everything_in_it(method: str, losses: np.ndarray) -> None:
    found = certificate(losses, objective="risk", delta=0.07, epsilon=0.03, measure="state", method=method)
    words = ["risk consistency", "delta = 0.07", "n = 321", "state"]
    words += ["epsilon = 0.03"] if METHODS[method].guarantee == "probability" else []
    assert ("epsilon" in found.promise) == (METHODS[method].guarantee == "probability")
    words += ["full model"] if found.threshold is None else ["at threshold 0.3,", "exchangeable"]
    assert all(word in found.promise for word in words)
    assert found.promise.endswith(".")
    assert ". " not in found.promise
    assert "\n" not in found.promise


def test_each_guarantee_has_its_own_words() -> None:
    assert certificate(method="ltt").promise.startswith("With probability at least 0.95")
    assert certificate(method="ucb").promise.startswith("With probability at least 0.95")
    assert "independent draws" in certificate(method="ltt").promise
    assert certificate(method="crc").promise.startswith("On average")
    assert "probability" not in certificate(method="crc").promise
    assert certificate(method="naive").promise.startswith("Nothing is promised")
    assert "the full model's text" in certificate(objective="textual").promise
    assert "against the references" in certificate(objective="risk").promise


def test_the_static_baseline_is_certified_like_a_measure() -> None:
    losses = np.stack([np.zeros(200), np.zeros(200), np.ones(200)])
    found = certificate(losses, [3, 2, 1], measure="static")
    assert found.threshold == 2
    assert "when every token leaves at layer 2, which the calibration examples chose" in found.promise
    assert "No layer of the static rule met" in certificate(np.ones((3, 200)), [3, 2, 1], measure="static").promise


def test_over_clusters_the_sentence_speaks_of_clusters() -> None:
    found = certificate(unit="cluster")
    assert (found.unit, found.n) == ("cluster", 200)
    assert "n = 200 calibration clusters" in found.promise
    assert "later clusters, each counting by the mean of its examples, is at most" in found.promise
    assert "these clusters and later ones are exchangeable" in found.promise
    assert "examples and later" not in found.promise


def test_promises_that_hold_together_share_epsilon() -> None:
    losses = np.stack([np.zeros(40), np.ones(40)])
    alone, shared = (certificate(losses, [0.9, 0.5], together=together) for together in (1, 12))
    assert (alone.threshold, shared.threshold) == (0.9, None)  # 0.9^40 lies between 0.05 / 12 and 0.05
    assert "(epsilon = 0.05 for all 12 promises at once)" in certificate(together=12).promise
    assert shared.epsilon == 0.05


@pytest.mark.parametrize("method", METHODS)
def test_together_every_promise_is_tested_at_its_share(method: str) -> None:
    if METHODS[method].guarantee != "probability":
        with pytest.raises(InputError, match="promises no probability"):
            certificate(method=method, together=2)
        return
    losses = np.random.default_rng(0).random((4, 200)) * np.array([[0.05], [0.1], [0.15], [0.3]])
    shared, alone = certificate(losses, together=5, method=method), certificate(losses, epsilon=0.01, method=method)
    assert shared.index == alone.index


def test_records_what_it_was_asked() -> None:
    found = certificate()
    assert (found.objective, found.delta, found.epsilon, found.measure) == ("textual", 0.1, 0.05, "softmax")
    assert (found.method, found.n, found.threshold, found.index) == ("ltt", 200, 0.3, 3)
    assert found.p_value == pytest.approx(0.9**200)
    with pytest.raises(FrozenInstanceError):
        found.threshold = 0.1  # type: ignore[misc]


def test_only_testing_has_a_p_value() -> None:
    assert all((certificate(method=name).p_value is None) == (not name.startswith("ltt")) for name in METHODS)


@pytest.mark.parametrize("bound", ["hoeffding_bentkus", "hoeffding", "wsr"])
@pytest.mark.parametrize("procedure", ["fixed_sequence", "bonferroni"])
def test_learn_then_test_takes_a_bound_and_a_procedure(bound: str, procedure: str) -> None:
    found = certificate(np.zeros((4, 300)), method=LearnThenTest(bound, procedure))
    assert found.threshold == 0.3
    assert found.method.startswith("ltt")
    assert (bound in found.method) == (bound != "hoeffding_bentkus")
    assert (procedure in found.method) == (procedure != "fixed_sequence")


def test_a_method_from_outside() -> None:
    class OnlyTheFirst:
        name = "first"
        guarantee = "none"

        def judge(self, losses: np.ndarray, parts: np.ndarray, delta: float, epsilon: float) -> Verdict:
            return Verdict(np.arange(len(losses)) == np.zeros((len(parts), 1)), None)

    assert (certificate(method=OnlyTheFirst()).threshold, certificate(method=OnlyTheFirst()).method) == (0.9, "first")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "quality"}, "objective='quality': must be one of textual, risk"),
        ({"method": "best"}, "method='best': must be one of ltt, ucb, crc, naive"),
        ({"method": None}, "method=None"),
        ({"unit": "word"}, "unit='word': must be one of example, cluster"),
        ({"together": 0}, "together=0: must be at least 1"),
        ({"delta": 1.5}, "delta=1.5"),
        ({"epsilon": 0}, "epsilon=0"),
        ({"thresholds": [0.3, 0.5, 0.7, 0.9]}, "strictly descending"),
        ({"thresholds": [0.9, 0.7, 0.7, 0.3]}, "strictly descending"),
        ({"thresholds": [1.1, 0.7, 0.5, 0.3]}, r"in \(0, 1\]"),
        ({"thresholds": [0.9, 0.7, 0.5, 0.0]}, r"in \(0, 1\]"),
        ({"thresholds": [None, 0.7, 0.5, 0.3]}, r"in \(0, 1\]"),
        ({"thresholds": ["high", 0.7, 0.5, 0.3]}, r"in \(0, 1\]"),
        ({"thresholds": list(np.linspace(0.1, 0.9, 99))}, r"\.\.\.: must be strictly descending"),
        ({"thresholds": 0.9}, "must be a list"),
        ({"thresholds": [0.9, 0.7]}, r"must be \(K, n\) with K=2"),
        ({"losses": np.zeros(4)}, r"must be \(K, n\) with K=4"),
        ({"losses": np.full((4, 5), np.nan)}, "20 of 20 values are NaN"),
        ({"losses": np.full((4, 5), 2.0)}, r"losses in \[2, 2\]"),
        ({"losses": np.zeros((4, 0))}, "at least one example"),
    ],
)
def test_refuses_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        certificate(**options)
    assert "\n" not in str(error.value)


def test_refuses_an_unknown_bound_or_procedure() -> None:
    with pytest.raises(InputError, match="bound='chernoff'"):
        LearnThenTest("chernoff")
    with pytest.raises(InputError, match="procedure='holm'"):
        LearnThenTest(procedure="holm")
