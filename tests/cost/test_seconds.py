"""Seconds of rules, read off a timings table, and the ratios that answer a speed benchmark."""

import numpy as np
import pandas as pd
import pytest

from calm_bench.cost.seconds import Arm, Timed, time_arms
from calm_bench.cost.speed import arms, grids
from calm_bench.decoding import Decay, Rule
from calm_bench.measures import Softmax, State
from calm_bench.stages.timing import boldest, check_texts, with_seconds


def _timing(arm: str, rule: int | None, example: int, seconds: float, layers: float = 4.0) -> dict[str, object]:
    measure = None if arm in ("rule", "loop", "generate", "peer") else "softmax"
    executors = {"peer": "CTranslate2 float32", "generate": "transformers", "rule": "native"}
    return {
        "arm": arm, "rule": rule, "measure": measure, "executor": executors.get(arm, "grid"), "example": example,
        "seconds": seconds, "encoder_seconds": seconds / 4, "n_tokens": 2,
        "mean_exit_layer": layers, "weight_bytes": int(1e9 * layers) if arm in ("rule", "read") else None,
        "same_text": {"peer": example == 0, "rule": True}.get(arm),
    }  # fmt: skip


RULES = pd.DataFrame(
    {
        "rule": range(5),
        "name": ["full", "static@2", "static@4", "softmax@0.5", "state@0.5"],
        "kind": ["full", "static", "static", "adaptive", "adaptive"],
        "last_layer": [8, 2, 4, 8, 8],
    }
)
ONCE = pd.DataFrame(
    [
        _timing("rule", 0, 0, 2.0, 8.0), _timing("rule", 0, 1, 4.0, 8.0),
        _timing("rule", 1, 0, 1.0, 2.0), _timing("rule", 1, 1, 1.0, 2.0),
        _timing("rule", 2, 0, 2.0, 4.0), _timing("rule", 2, 1, 2.0, 4.0),
        _timing("rule", 3, 0, 1.0, 3.0), _timing("rule", 3, 1, 2.0, 3.0),
        _timing("generate", 0, 0, 6.0, 8.0), _timing("generate", 0, 1, 6.0, 8.0),
        _timing("peer", 0, 0, 3.0, 8.0), _timing("peer", 0, 1, 7.0, 8.0),
        _timing("loop", 0, 0, 4.0, 8.0), _timing("loop", 0, 1, 5.0, 8.0), _timing("read", None, 0, 0.5),
        _timing("grid", None, 0, 9.0), _timing("one_by_one", None, 0, 18.0),
    ]
).astype({"rule": "Int32"}).assign(repeat=0)  # fmt: skip
TIMINGS = pd.concat([ONCE, ONCE.assign(repeat=1)], ignore_index=True)


def test_whole_batches_do_not_hide_the_seconds_of_single_texts() -> None:
    """Arms that time whole grids share the table with those that time one text; only the latter make a speedup."""
    timed = with_seconds(RULES[["rule"]], TIMINGS, full=0, seed=0)
    assert timed.loc[[0, 3], "seconds"].tolist() == [3.0, 1.5]
    assert timed.loc[[0, 3], "speedup"].tolist() == pytest.approx([1.0, 2.0])
    assert timed.loc[4, ["seconds", "speedup", "speedup_low", "speedup_high"]].isna().all()


def test_one_repeat_gives_no_interval() -> None:
    timed = with_seconds(RULES[["rule"]], ONCE, full=0, seed=0)
    assert timed.loc[3, "speedup"] == pytest.approx(2.0)
    assert timed[["speedup_low", "speedup_high"]].isna().all(axis=None)
    assert arms(ONCE, RULES).filter(regex="_(low|high)$").isna().all(axis=None)
    assert grids(ONCE)[["low", "high"]].isna().all(axis=None)


def test_what_each_arm_takes_over_the_full_model_a_peer_and_the_ideal() -> None:
    table = arms(TIMINGS, RULES).set_index("arm")
    rules = ["full", "static@2", "static@4", "softmax@0.5"]
    assert table.index.tolist() == [*rules, "full, loop", "generate()", "CTranslate2 float32"]
    assert table["over_full"].tolist() == pytest.approx([1, 2 / 6, 4 / 6, 3 / 6, 9 / 6, 2, 10 / 6])
    assert table["over_peer"].tolist() == pytest.approx([0.6, 0.2, 0.4, 0.3, 0.9, 1.2, 1.0])
    assert table["over_ideal"].dropna().to_dict() == {
        "softmax@0.5": 1.0
    }  # at 3 layers static takes 1.5 s, and so it does
    assert (table["over_full_low"] <= table["over_full"]).all()
    assert table["milliseconds"].loc[["full", "static@2"]].tolist() == [3000, 1000]
    assert table["encoder_milliseconds"].loc[["full", "CTranslate2 float32"]].tolist() == [750, 1250]
    assert table.loc[rules, "gb_per_second"].tolist() == pytest.approx([16 / 6, 4 / 2, 8 / 4, 6 / 3])
    assert table.loc["full", "bandwidth_share"] == pytest.approx(16 / 6 / 8)  # the arm `read`: 4 GB in half a second
    assert table.loc[["full", "CTranslate2 float32"], "same_texts"].tolist() == [1.0, 0.5]
    assert arms(TIMINGS[:0], RULES).empty


def test_a_grid_in_one_pass_beside_its_rules_one_after_another() -> None:
    (row,) = grids(TIMINGS).to_dict("records")
    assert (row["measure"], row["ratio"], row["n"]) == ("softmax", 2.0, 1)
    assert np.isnan(row["low"])  # one batch says nothing of how far the ratio wavers
    assert grids(TIMINGS[:0]).empty


def test_the_boldest_certified_rule_of_each_measure() -> None:
    rules = [Rule.full(), Rule.static(3)]
    rules += [Rule.adaptive(measure, at, Decay()) for measure in (Softmax(), State()) for at in (0.9, 0.8, 0.7)]
    assert boldest(rules, {0, 1, 3, 2, 5}) == [3, 5]


def test_a_timed_text_that_is_not_the_recorded_one() -> None:
    """A tie in one of many texts is said; more are refused, since their seconds are those of another text."""
    rows = pd.DataFrame([{**_timing("rule", 0, n, 1.0), "same_text": n != 7} for n in range(1000)])
    check_texts(rows, [Rule.full()])
    with pytest.raises(RuntimeError, match=r"3 of 500 timed texts .* under full by the native executor, example 7"):
        check_texts(rows[:500].assign(same_text=~rows["example"].isin([7, 8, 9])), [Rule.full()])


def test_arms_take_turns_and_their_texts_are_compared() -> None:
    def arm(name: str, ids: list[int], expected: dict[int, list[int]]) -> Arm:
        return Arm(name, 0, None, "mine", lambda source: Timed(1.0, 0.5, len(ids), 2.0, None, ids), expected)

    made = [arm("rule", [5, 1], {0: [5, 1], 3: [6, 1]}), arm("read", [], {})]
    table = time_arms(made, [[9, 1], [8, 1]], [0, 3], repeats=2, warmup=1, threads=1, seed=0)
    assert len(table) == 8
    assert table["order"].tolist() == list(range(8))
    same = table[table["arm"] == "rule"].set_index("example")["same_text"]
    assert same.loc[0].tolist() == [True, True]
    assert same.loc[3].tolist() == [False, False]
    assert table.loc[table["arm"] == "read", "same_text"].isna().all()
