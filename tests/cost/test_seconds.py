"""Seconds of rules, read off a timings table, and the ratios that answer a speed benchmark."""

import pandas as pd
import pytest

from calm_bench.cost.speed import compare
from calm_bench.stages.timing import with_seconds


def _timing(arm: str, rule: int | None, example: int, seconds: float, layers: float = 4.0) -> dict[str, object]:
    measure = None if arm in ("rule", "generate") else "softmax"
    about = {"arm": arm, "rule": rule, "measure": measure, "example": example}
    return {**about, "seconds": seconds, "n_tokens": 2, "mean_exit_layer": layers}


RULES = pd.DataFrame(
    {
        "rule": range(5),
        "name": ["full", "static@2", "static@4", "softmax@0.5", "state@0.5"],
        "kind": ["full", "static", "static", "adaptive", "adaptive"],
        "last_layer": [8, 2, 4, 8, 8],
    }
)
TIMINGS = pd.DataFrame(
    [
        _timing("rule", 0, 0, 2.0, 8.0), _timing("rule", 0, 1, 4.0, 8.0),
        _timing("rule", 1, 0, 1.0, 2.0), _timing("rule", 1, 1, 1.0, 2.0),
        _timing("rule", 2, 0, 2.0, 4.0), _timing("rule", 2, 1, 2.0, 4.0),
        _timing("rule", 3, 0, 1.0, 3.0), _timing("rule", 3, 1, 2.0, 3.0),
        _timing("generate", 0, 0, 6.0, 8.0), _timing("generate", 0, 1, 6.0, 8.0),
        _timing("grid", None, 0, 9.0), _timing("one_by_one", None, 0, 18.0),
    ]
).astype({"rule": "Int32"})  # fmt: skip


def test_whole_batches_do_not_hide_the_seconds_of_single_texts() -> None:
    """Arms that time whole grids share the table with those that time one text; only the latter make a speedup."""
    timed = with_seconds(RULES[["rule"]], TIMINGS, full=0, seed=0)
    assert timed.loc[[0, 3], "seconds"].tolist() == [3.0, 1.5]
    assert timed.loc[[0, 3], "speedup"].tolist() == pytest.approx([1.0, 2.0])
    assert timed.loc[4, ["seconds", "speedup", "speedup_low", "speedup_high"]].isna().all()


def test_the_three_questions_of_a_speed_benchmark() -> None:
    answers = compare(TIMINGS, RULES).set_index("comparison")
    ratios = {"generate / full": 2.0, "softmax@0.5 / static": 1.0, "one by one / grid, softmax": 2.0}
    assert answers["ratio"].to_dict() == pytest.approx(ratios)  # at 3 layers static takes 1.5 s, and so does softmax
    assert answers["n"].tolist() == [2, 2, 1]
    assert answers["mean_exit_layer"].tolist() == [8, 3, 4]
    assert compare(TIMINGS[:0], RULES).empty
