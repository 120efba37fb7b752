"""Figures: what is drawn (artists, labels, limits), never pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import analysis
from analysis import Records, load, rules, style
from analysis.catalogue import CATALOGUE
from analysis.load import of_rules
from analysis.output import Drawn
from analysis.outputs import save
from analysis.plots.seconds import savings
from calm_bench.errors import InputError
from tests.analysis.conftest import chosen


def lines(ax: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {str(line.get_label()): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.lines}


def legend(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


@pytest.fixture(scope="module")
def part(records: Records) -> Records:
    return records.of(records.groups[0])


@pytest.mark.parametrize("x", ["mean_exit_layer", "flops_reduction", "flops_reduction_t5", "seconds"])
def test_frontier_draws_every_point_and_nothing_else(part: Records, x: str) -> None:
    fig = analysis.frontier(part.frontier, x, quality="BLEU")
    (ax,) = fig.axes
    drawn = lines(ax)
    for measure in ("softmax", "state", "classifier", "static"):
        rows = part.frontier[(part.frontier["measure"] == measure) & part.frontier[x].notna()].sort_values(x)
        np.testing.assert_allclose(drawn[measure][0], rows[x] * (1000 if x == "seconds" else 1))
        np.testing.assert_allclose(np.sort(drawn[measure][1]), np.sort(rows["score"]))
    assert ax.get_ylabel() == "BLEU (0 to 100)"
    assert ax.get_xlabel() == style.AXIS[x]
    assert "n = 24" in ax.get_title(loc="left")
    expected = ["softmax", "state", "classifier", "static", "oracle", "full"]
    assert set(legend(fig)) == set(expected) - ({"oracle"} if x == "seconds" else set())


def test_cheaper_is_always_on_the_left(part: Records) -> None:
    for x in ("mean_exit_layer", "flops_reduction", "seconds"):
        (ax,) = analysis.frontier(part.frontier, x).axes
        full = part.frontier.loc[part.frontier["measure"] == "full", x].iloc[0] * (1000 if x == "seconds" else 1)
        low, high = ax.get_xlim()
        assert (low > high) == (x == "flops_reduction")
        assert abs(full - high) < abs(full - low)  # the full model is the dearest


def test_what_would_hide_the_rest_is_said_and_not_drawn(part: Records) -> None:
    slow = part.frontier[part.frontier["measure"] == "full"].assign(measure="speculative", mean_exit_layer=40.0)
    fig = analysis.frontier(pd.concat([part.frontier, slow]))
    assert "speculative" not in legend(fig)
    assert "outside the axes: speculative (40.0 layers)" in " ".join(fig.axes[0].get_title(loc="left").split())


def test_a_fixed_layer_that_scores_higher_is_said_to_be_unlike_the_paper(part: Records) -> None:
    worse = part.frontier.assign(score=part.frontier["score"].where(part.frontier["measure"] != "softmax", 1.0))
    title = " ".join(analysis.frontier(worse).axes[0].get_title(loc="left").split())
    assert "a fixed layer scores higher than" in title
    assert "softmax" in title.split("higher than")[1]
    assert "unlike the paper's Fig. 3" in title


def test_a_title_wraps_but_not_within_a_word_nor_between_a_name_and_its_value() -> None:
    lines = style.wrapped("reference_pretraining-span_corruption, n = 160, ε = 0.05, 50 trials").splitlines()
    assert lines == ["reference_pretraining-span_corruption,", "n = 160, ε = 0.05, 50 trials"]
    assert style.wrapped("a, n = 160") == "a, n = 160"
    assert style.wrapped("reference_squad_pretrained-squad, n = 1000", 1.7).splitlines() == [
        "reference_squad_pretrained-", "squad, n = 1000",
    ]  # fmt: skip


def test_the_cheapest_certified_rule_is_ringed_and_named_and_few_texts_are_said(part: Records) -> None:
    (ax,) = analysis.frontier(part.frontier, certified=chosen(part, softmax=0.5)).axes
    assert [text.get_text() for text in ax.texts] == ["softmax, λ = 0.5", "cheapest certified rule (ring):"]
    point = part.frontier[(part.frontier["measure"] == "softmax") & (part.frontier["threshold"] == 0.5)].iloc[0]
    assert [point["mean_exit_layer"], point["score"]] in [line.get_xydata()[0].tolist() for line in ax.lines]
    assert "fewer than 50 texts say little" in " ".join(ax.get_title(loc="left").split())


def test_no_point_lies_in_the_small_print(part: Records) -> None:
    low = part.frontier.assign(score=part.frontier["score"].where(part.frontier["measure"] != "softmax", 1.0))
    fig = analysis.frontier(low, certified=chosen(part, softmax=0.5))
    fig.canvas.draw()
    (ax,) = fig.axes
    top = max(text.get_window_extent().y1 for text in ax.texts)
    assert ax.transData.transform([4.0, 1.0])[1] > top


def test_few_points_have_bars_and_no_band_between_them(part: Records) -> None:
    (ax,) = analysis.frontier(part.frontier[part.frontier["measure"].isin(["softmax", "full"])], "seconds").axes
    assert not [band for band in ax.collections if type(band).__name__.startswith("FillBetween")]


def test_no_legend_leaves_the_figure(part: Records) -> None:
    long = part.frontier.assign(measure=part.frontier["measure"].replace({"softmax": "a measure with a long name"}))
    fig = analysis.frontier(long)
    fig.canvas.draw()
    box = fig.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= fig.bbox.x1


def test_several_tasks_stand_side_by_side(write_run) -> None:
    last = [write_run(run_id=task, task=task, n=6) for task in ("cnndm", "squad")][-1]
    (output,) = [output for output in CATALOGUE if output.stem == "frontier-tasks"]
    (part,) = output.scope(load(last.parent, quiet=True)).values()
    drawn = output.make(part)
    assert isinstance(drawn, Drawn)
    assert [ax.get_title(loc="left").split(",")[0] for ax in drawn.figure.axes] == ["demo-cnndm", "demo-squad"]
    assert set(drawn.data["task"]) == {"cnndm", "squad"}


def test_a_measure_looks_the_same_in_every_figure(part: Records) -> None:
    exits = of_rules(part.exits, chosen(part, softmax=0.5, state=0.5, classifier=0.5))
    figures = [
        analysis.frontier(part.frontier),
        analysis.consistency(part.certificates, "textual"),
        analysis.broken_promises(part.certificates),
        analysis.exit_by_position(exits, 8, least=5),
    ]
    for fig in figures:
        for line in fig.axes[0].lines:
            measure = str(line.get_label()).split(",")[0]
            if measure in style.ADAPTIVE:
                assert to_hex(line.get_color()).upper() == style.COLOURS[measure].upper()
                assert line.get_marker() == style.MARKERS[measure]
    assert len(set(style.COLOURS.values())) == len(style.COLOURS) == len(set(style.MARKERS.values()))


def test_frontier_of_a_measure_from_outside(part: Records) -> None:
    renamed = part.frontier.replace({"measure": {"state": "entropy"}})
    assert "entropy" in legend(analysis.frontier(renamed))


def test_a_dollar_sign_in_a_name_is_no_mathematics(part: Records, tmp_path: Path) -> None:
    fig = analysis.frontier(part.frontier.assign(group="a$b_{$"), quality="$\\frac$")
    assert save(fig, tmp_path, "dollars") == ("dollars.png", "dollars.svg")
    assert "$\\frac$ (0 to 100)" in (tmp_path / "dollars.svg").read_text()


def test_frontier_refuses_what_is_not_there(part: Records) -> None:
    with pytest.raises(InputError, match="no rule of an adaptive measure has seconds"):
        analysis.frontier(part.frontier.assign(seconds=np.nan), "seconds")
    with pytest.raises(InputError, match="x='layers'"):
        analysis.frontier(part.frontier, "layers")


def test_consistency_shows_trial_means_and_the_diagonal(part: Records) -> None:
    fig = analysis.consistency(part.certificates, "risk")
    top, bottom = fig.axes
    held_out = part.certificates.query("objective == 'risk' and measure == 'state' and trial.notna()")
    means = held_out.groupby("delta")[["test_loss", "mean_exit_layer"]].mean()
    np.testing.assert_allclose(lines(top)["state"][1], means["test_loss"])
    np.testing.assert_allclose(lines(bottom)["state"][1], means["mean_exit_layer"])
    np.testing.assert_allclose(*lines(top)["allowed"])
    assert "50 trials" in " ".join(top.get_title(loc="left").split())
    with pytest.raises(InputError, match="objective=harm"):
        analysis.consistency(part.certificates, "harm")


def test_histogram_bars_are_shares_of_tokens(part: Records) -> None:
    rows = chosen(part, softmax=0.5, state=0.5)
    (ax,) = analysis.exit_histogram(of_rules(part.exits, rows), 8).axes
    assert len(ax.containers) == 2
    for bars in ax.containers:
        assert sum(bar.get_height() for bar in bars) == pytest.approx(1)
    softmax = part.tokens(rows[rows["measure"] == "softmax"])
    assert ax.containers[0][2].get_height() == pytest.approx((softmax["exit_layer"] == 3).mean())


def test_positions_that_few_texts_reach_are_left_out(part: Records) -> None:
    rows = chosen(part, softmax=0.5)
    tokens, exits = part.tokens(rows), of_rules(part.exits, rows)
    (ax,) = analysis.exit_by_position(exits, 8, least=10).axes
    steps, means = lines(ax)["softmax, λ = 0.5"]
    reached = tokens.groupby("position").size()
    assert steps.max() == reached[reached >= 10].index.max() + 1
    assert means[0] == pytest.approx(tokens.query("position == 0")["exit_layer"].mean())
    twice = pd.concat([exits, exits.assign(run_id="another seed")])
    (both,) = analysis.exit_by_position(twice, 8, least=10).axes
    np.testing.assert_allclose(lines(both)["softmax, λ = 0.5"], (steps, means))
    with pytest.raises(InputError, match="no position is reached by 100 texts"):
        analysis.exit_by_position(exits, 8, least=100)


def test_decay_is_equation_5() -> None:
    (ax,) = analysis.threshold_decay(0.8, taus=(0, 4)).axes
    assert lines(ax)["τ = 0"][1] == pytest.approx(np.full(101, 0.82))
    np.testing.assert_allclose(lines(ax)["τ = 4"][1][[0, -1]], [0.82, 0.72 + 0.1 * np.exp(-4)])


def test_broken_promises_counts_trials_over_delta() -> None:
    losses = [0.05, 0.2, 0.08, 0.09]
    trial = pd.DataFrame(
        {
            "objective": "textual",
            "delta": 0.1,
            "measure": "state",
            "trial": range(4),
            "n_calibration": 9,
            "test_loss": losses,
        }
    )
    fig = analysis.broken_promises(pd.concat([trial.assign(epsilon=0.05), trial.assign(epsilon=0.2)]))
    np.testing.assert_allclose(lines(fig.axes[0])["state"], ([0.05, 0.2], [0.25, 0.25]))


def test_seconds_saved_is_relative_to_the_full_model() -> None:
    def arm(name: str, rule: int, measure: str, threshold: float, seconds: float, layers: float) -> pd.DataFrame:
        rows = {"example": [0, 1], "repeat": 0, "n_tokens": 10, "mean_exit_layer": layers}
        about = {"run_id": "r", "arm": name, "rule": rule, "measure": measure, "threshold": threshold}
        return pd.DataFrame({**about, **rows, "seconds": seconds + 1, "encoder_seconds": 1.0})

    ours = [arm("rule", 0, "full", np.nan, 4, 8), arm("rule", 1, "state", 0.5, 3, 2)]
    timings = pd.concat(ours, ignore_index=True)
    # Other things that were timed, such as Hugging Face's own loop, are neither baseline nor rule.
    others = [arm("generate", 0, "full", np.nan, 9, 8), arm("grid", -1, "state", np.nan, 50, 4)]
    (saved,) = savings(pd.concat([timings, *others], ignore_index=True)).to_dict("records")
    assert (saved["layers_saved"], saved["seconds_saved"]) == pytest.approx((0.75, 0.25))
    assert saved["seconds_saved_low"] <= saved["seconds_saved"] <= saved["seconds_saved_high"]
    (ax,) = analysis.seconds_saved(timings).axes
    np.testing.assert_allclose(*lines(ax)["ideal"])
    with pytest.raises(InputError, match="full model"):
        analysis.seconds_saved(timings[timings["measure"] != "full"])


def test_trials_at_other_tolerances_keep_their_own_promises(part: Records) -> None:
    again = analysis.trials(part, "textual", deltas=(0.1, 0.3), epsilons=(0.05, 0.5))
    assert len(again) == 2 * 2 * 4 * 50  # three measures and the static baseline
    assert again["test_loss"].between(0, 1).all()
    full = again["rule"] == 0
    assert full.any()
    assert (again.loc[full, "test_loss"] == 0).all()
    assert (again.loc[full, "mean_exit_layer"] == 8).all()
    layers = again.groupby("delta")["mean_exit_layer"].mean()
    assert layers[0.3] <= layers[0.1]
    assert set(analysis.trials(part, "risk", measures=["state"])["measure"]) == {"state"}
    with pytest.raises(InputError, match="none to certify"):
        analysis.trials(part, "textual", measures=["entropy"])


def test_representative_rules_are_certified_where_they_can_be(part: Records) -> None:
    picked = rules.representative(part)
    whole = part.certificates.query("objective == 'textual' and delta == 0.25 and trial.isna()")
    if whole["threshold"].notna().all():
        assert set(picked["rule"]) == set(whole["rule"])
    static = part.certificates.assign(
        measure="static", rule=part.rules.loc[part.rules["kind"] == "static", "rule"].max()
    )
    both = replace(part, certificates=pd.concat([part.certificates, static], ignore_index=True))
    assert set(rules.representative(both)["rule"]) == set(picked["rule"])
    nothing = rules.representative(replace(part, certificates=part.certificates.iloc[:0]))
    assert set(nothing["measure"]) == {"softmax", "state", "classifier"}
    shown = rules.shown(part, 12)
    assert len(shown) == 12
    assert shown["kind"].iloc[0] == "full"


def test_promises_added_later_do_not_mix_with_the_runs_own(records: Records) -> None:
    later = records.certificates.assign(method="naive", epsilon=0.3)
    both = pd.concat([records.certificates, later], ignore_index=True)
    pd.testing.assert_frame_equal(rules.own(both), records.certificates)


def test_the_card_shows_the_quickest_certified_rule_whose_score_may_be_the_full_models(part: Records) -> None:
    table = analysis.certified(part.certificates)
    rows = part.frontier.set_index(["measure", "threshold"])
    full = part.frontier.loc[part.frontier["measure"] == "full", "score"].iloc[0]
    named = [(row.measure, row.threshold) for row in table.dropna(subset="threshold").itertuples()]
    good = [rows.loc[rule] for rule in named if rows.loc[rule, "score_high"] >= full]
    quickest = max(good, key=lambda row: (row["speedup"] if row["speedup"] > 0 else 0, row["flops_reduction"]))
    (output,) = [output for output in CATALOGUE if output.stem == "card"]
    drawn = output.make(part)
    assert drawn.data["rule"].tolist() == [quickest["rule"]]
    said = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert f"{quickest['mean_exit_layer']:.2f}" in said
    assert f"{quickest['score']:.1f}" in said
    flops = next(text for text in said if text.startswith("÷ "))
    assert float(flops.removeprefix("÷ ")) > 0
    assert any("Promised (ltt, " in text for text in said)
