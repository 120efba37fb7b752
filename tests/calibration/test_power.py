"""What a number of examples can certify, against formulas, and what a sample would have certified, against a search."""

from math import ceil, log

import numpy as np
import pytest

from calm_bench.calibration import METHODS, certify
from calm_bench.calibration.power import nearest_delta, smallest_n
from calm_bench.errors import InputError

FORMULAS = {
    "ltt": lambda delta, epsilon, k: ceil(log(epsilon) / log(1 - delta)),  # (1 - delta)^n <= epsilon
    "ltt-hoeffding": lambda delta, epsilon, k: ceil(log(1 / epsilon) / (2 * delta**2)),
    "ltt-bonferroni": lambda delta, epsilon, k: ceil(log(epsilon / k) / log(1 - delta)),
    "crc": lambda delta, epsilon, k: ceil(1 / delta - 1),
    "naive": lambda delta, epsilon, k: 1,
}


@pytest.mark.parametrize(("delta", "n"), [(0.25, 11), (0.1, 29), (0.05, 59), (0.02, 149)])
def test_the_papers_tolerances(delta: float, n: int) -> None:
    assert smallest_n(METHODS["ltt"], delta, 0.05) == n


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("delta", [0.3, 0.07, 0.015])
@pytest.mark.parametrize("epsilon", [0.2, 0.01])
def test_equals_the_formula(method: str, delta: float, epsilon: float) -> None:
    assert smallest_n(METHODS[method], delta, epsilon, 7) == FORMULAS[method](delta, epsilon, 7)


@pytest.mark.parametrize("method", METHODS)
def test_one_fewer_cannot(method: str) -> None:
    n = smallest_n(METHODS[method], 0.1, 0.05, 3)
    assert n is not None

    def certified(n: int) -> float | None:
        asked = {"objective": "risk", "delta": 0.1, "epsilon": 0.05, "measure": "state", "method": method}
        return certify(np.zeros((3, n)), [0.9, 0.5, 0.1], **asked).threshold  # type: ignore[arg-type]

    assert certified(n) == 0.1
    assert n == 1 or certified(n - 1) is None


def test_a_tolerance_that_no_number_certifies() -> None:
    assert smallest_n(METHODS["ltt-hoeffding"], 1e-4, 0.05) is None
    with pytest.raises(InputError, match="delta=0"):
        smallest_n(METHODS["ltt"], 0, 0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_nearest_tolerance_is_the_first_that_certifies(method: str) -> None:
    losses = np.random.default_rng(0).random((3, 200)) * np.array([[0.1], [0.2], [0.6]])
    grid = [0.9, 0.5, 0.1]
    asked = {"objective": "risk", "epsilon": 0.05, "measure": "state", "method": method}
    found = nearest_delta(losses, grid, METHODS[method], 0.02, 0.05)
    certified = {step: certify(losses, grid, delta=step / 1000, **asked) for step in range(21, 200)}  # type: ignore[arg-type]
    first = next(step for step, certificate in certified.items() if certificate.index is not None)
    assert found == (first / 1000, certified[first].index)


def test_there_may_be_no_nearest_tolerance() -> None:
    assert nearest_delta(np.ones((2, 50)), [0.9, 0.5], METHODS["ltt"], 0.1, 0.05) is None
    assert nearest_delta(np.zeros((2, 50)), [0.9, 0.5], METHODS["ltt"], 0.999, 0.05) is None
