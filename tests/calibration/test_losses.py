"""The losses: per example, in [0, 1], and cut at zero before any mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.calibration import risk_loss, textual_loss
from calm_bench.errors import InputError

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)


def test_textual_loss_is_the_distance() -> None:
    np.testing.assert_allclose(textual_loss([1.0, 0.25, 0.0]), [0, 0.75, 1])


def test_risk_is_cut_per_example_not_on_the_mean() -> None:
    """One example better by 0.5, one worse by 0.5: the difference of means is 0, the mean loss is not."""
    losses = risk_loss([0.9, 0.1], [0.4, 0.6])
    np.testing.assert_allclose(losses, [0, 0.5])
    assert losses.mean() == 0.25


def test_risk_of_a_grid_shares_the_full_models_scores() -> None:
    np.testing.assert_allclose(risk_loss([[0.5, 0.5], [0.0, 1.0]], [0.75, 0.5]), [[0.25, 0], [0.75, 0]])


@given(scores)
def test_risk_bounds_the_difference_of_means(pairs: list[tuple[float, float]]) -> None:
    early, full = np.array(pairs).T
    losses = risk_loss(early, full)
    assert ((losses >= 0) & (losses <= 1)).all()
    assert losses.mean() >= (full - early).mean() - 1e-12


def test_rounding_is_forgiven_and_clipped() -> None:
    assert textual_loss([1 + 1e-12]).min() == 0
    assert risk_loss([-1e-12], [1 + 1e-12]).max() == 1


@pytest.mark.parametrize("bad", [[1.1], [-0.1], [np.nan], [np.inf], [], 0.5, ["a"], [[0.1], [0.2, 0.3]]])
def test_refuses_what_is_not_in_the_unit_interval(bad: object) -> None:
    with pytest.raises(InputError, match="similarity_to_full"):
        textual_loss(bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="score_early"):
        risk_loss(bad, [0.5])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="score_full"):
        risk_loss([0.5], bad)  # type: ignore[arg-type]


def test_refuses_scores_that_do_not_match() -> None:
    with pytest.raises(InputError, match=r"score_full with shape \(3,\): must match"):
        risk_loss([0.5, 0.5], [0.5, 0.5, 0.5])
    with pytest.raises(InputError, match="must match"):
        risk_loss([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
