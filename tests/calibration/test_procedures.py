"""Fixed-sequence testing returns the last threshold that passed, never the first that failed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.calibration import bonferroni, fixed_sequence, last_accepted
from calm_bench.errors import InputError

p_lists = st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.0500001, 0.2, 1.0]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("p_values", "last"),
    [
        ([0.01, 0.02, 0.06, 0.01], 1),
        ([0.01, 0.05], 1),
        ([0.06, 0.0], -1),
        ([0.0, 0.0, 0.0], 2),
        ([1.0], -1),
    ],
)
def test_fixed_sequence_by_hand(p_values: list[float], last: int) -> None:
    assert last_accepted(fixed_sequence(p_values, 0.05)) == last


@given(p_lists)
def test_fixed_sequence_equals_the_walk(p_values: list[float]) -> None:
    walk = []
    for p in p_values:
        if p > 0.05:
            break
        walk.append(True)
    walk += [False] * (len(p_values) - len(walk))
    assert fixed_sequence(p_values, 0.05).tolist() == walk


def test_bonferroni_skips_over_failures_at_a_stricter_level() -> None:
    assert bonferroni([0.02, 0.03, 0.025, 1.0], 0.1).tolist() == [True, False, True, False]
    assert last_accepted(bonferroni([0.02, 0.03, 0.025, 1.0], 0.1)) == 2


def test_leading_axes_are_free() -> None:
    table = np.array([[0.01, 0.2], [0.01, 0.01], [0.2, 0.01]])
    assert last_accepted(fixed_sequence(table, 0.05)).tolist() == [0, 1, -1]
    assert last_accepted(bonferroni(table, 0.05)).tolist() == [0, 1, 1]


@pytest.mark.parametrize("procedure", [fixed_sequence, bonferroni])
@pytest.mark.parametrize(
    ("p_values", "epsilon", "message"),
    [
        ([], 0.05, "p_values"),
        ([np.nan], 0.05, "p_values.*NaN"),
        ([1.2], 0.05, "p_values"),
        ([0.1], 0, "epsilon=0"),
        ([0.1], 1, "epsilon=1"),
    ],
)
def test_refuses(procedure, p_values, epsilon, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        procedure(p_values, epsilon)
