"""Figures of what a model was asked beside its rules: what is drawn, never pixels."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import analysis
from analysis import Records, style
from analysis.plots.reliability import PROBABILITIES
from calm_bench.errors import InputError


def test_reliability_draws_a_curve_for_each_layer(records: Records) -> None:
    fig = analysis.reliability(records.probe("reliability"))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["softmax", "state", "classifier"]
    for ax, measure in zip(fig.axes, ("softmax", "state", "classifier"), strict=True):
        curves = [line for line in ax.lines if line.get_linestyle() == "-"]
        assert len(curves) == 7
        by_layer = records.probe("reliability")[records.probe("reliability")["measure"] == measure].groupby("layer")
        for curve, (_, rows) in zip(curves, by_layer, strict=True):
            rows = rows.sort_values("bin")
            np.testing.assert_allclose(curve.get_xdata(), rows["confidence"])
            np.testing.assert_allclose(curve.get_ydata(), rows["agreement"])
        diagonals = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert len(diagonals) == (measure in PROBABILITIES)
        for diagonal in diagonals:
            np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    assert len({to_hex(line.get_color()) for line in fig.axes[0].lines}) == 7
    assert fig.get_suptitle().startswith("demo-tatoeba_enfr, n = 100 tokens")
    with pytest.raises(InputError, match="probes"):
        analysis.reliability(records.probe("reliability").iloc[:0])


def test_perturbation_shows_both_kinds_and_the_level_without(records: Records) -> None:
    fig = analysis.perturbation(records.probe("perturbation"), similarity="chrF")
    above, below = fig.axes
    drawn = {str(line.get_label()): line for line in above.lines}
    assert list(drawn) == [
        "no wrong token",
        "last layer's tenth-ranked token: differs in 100%",
        "first layer's token: differs in 30%",
    ]
    sampled = records.probe("perturbation").query("kind == 'sampled'")
    line = drawn["last layer's tenth-ranked token: differs in 100%"]
    np.testing.assert_allclose(line.get_xdata(), sampled["step"] + 1)
    np.testing.assert_allclose(line.get_ydata(), 100 * sampled["score"])
    np.testing.assert_allclose(drawn["no wrong token"].get_ydata(), 100 * sampled["score_full"])
    np.testing.assert_allclose(below.lines[0].get_ydata(), 100 * sampled["similarity"])
    assert below.get_xscale() == "log"
    assert [label.get_text() for label in below.get_xticklabels()] == ["1\n24", "2\n24", "3\n24", "5\n24", "9\n24"]
    assert below.get_ylabel() == "chrF to the full text (0 to 100)"


def test_a_step_that_few_texts_reach_is_left_out(records: Records) -> None:
    rows = records.probe("perturbation")
    late = rows.assign(n=np.where(rows["step"] > 2, 9, 24))
    above, _ = analysis.perturbation(late).axes
    assert max(above.lines[0].get_xdata()) == 3
    with pytest.raises(InputError, match="reached by 10 texts"):
        analysis.perturbation(rows.assign(n=9))


def decayed() -> pd.DataFrame:
    points = {"group": "decay", "measure": "softmax", "threshold": [0.9, 0.5, 0.1], "n": 24}
    runs = [
        pd.DataFrame(
            {**points, "run_id": "r0", "tau": 0.0, "mean_exit_layer": [5, 4, 1], "textual_loss": [0, 0.1, 0.4]}
        ),
        pd.DataFrame(
            {**points, "run_id": "r4", "tau": 4.0, "mean_exit_layer": [4, 3, 1], "textual_loss": [0, 0.2, 0.4]}
        ),
    ]
    return pd.concat(runs, ignore_index=True)


def test_decay_points_has_a_curve_for_each_tau_and_names_its_cliff() -> None:
    ax, strip = analysis.decay_points(decayed(), similarity="chrF").axes
    first, second = ax.lines
    assert first.get_label() == "τ = 0, largest step 30.0"
    assert second.get_label() == "τ = 4, largest step 20.0"
    np.testing.assert_allclose(first.get_xdata(), [5, 4, 1])
    np.testing.assert_allclose(first.get_ydata(), [100, 90, 60])
    assert [row.get_xdata().tolist() for row in strip.lines] == [[5, 4, 1], [4, 3, 1]]
    assert strip.get_xlabel() == style.AXIS["mean_exit_layer"]
    assert ax.get_title(loc="left") == "decay, softmax, n = 24"


def test_decay_points_says_where_no_falling_threshold_fills_the_gaps() -> None:
    turned = decayed().assign(tau=lambda points: 4.0 - points["tau"])
    title = " ".join(analysis.decay_points(turned).axes[0].get_title(loc="left").split())
    assert "no falling threshold has a smaller largest step here" in title


def test_decay_points_refuses_what_it_cannot_tell_apart() -> None:
    with pytest.raises(InputError, match="runs r0 and r4 both have tau=4 for softmax"):
        analysis.decay_points(decayed().assign(tau=4.0))
    with pytest.raises(InputError, match="tau"):
        analysis.decay_points(decayed().assign(tau=None))


def test_methods_are_compared_on_one_measure(records: Records) -> None:
    tried = [
        analysis.trials(records, "textual", deltas=(0.1, 0.4), method=method, measures=["softmax"])
        for method in ("ltt", "ucb", "crc")
    ]
    frame = pd.concat(tried, ignore_index=True)
    fig = analysis.compare_methods(frame)
    above, below = fig.axes
    assert [line.get_label() for line in above.lines] == ["ltt", "ucb", "crc (mean only)"]
    for line, drawn, rows in zip(above.lines, below.lines, tried, strict=False):
        by_delta = rows.groupby("delta")
        np.testing.assert_allclose(line.get_ydata(), by_delta["mean_exit_layer"].mean())
        broken = (rows["test_loss"] > rows["delta"]).groupby(rows["delta"]).mean()
        np.testing.assert_allclose(drawn.get_ydata(), broken)
    assert below.lines[3].get_ydata()[0] == 0.05
    assert "n = 19, 50 trials" in fig.get_suptitle().replace("\n", " ")
    with pytest.raises(InputError, match="one measure"):
        analysis.compare_methods(pd.concat([frame, frame.assign(measure="state")]))
