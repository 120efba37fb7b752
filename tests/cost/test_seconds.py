"""Seconds of rules, read off a timings table."""

import pandas as pd
import pytest

from calm_bench.stages.timing import with_seconds


def _timing(arm: str, example_id: str, seconds: float) -> dict[str, object]:
    return {"arm": arm, "example_id": example_id, "seconds": seconds}


def test_whole_batches_do_not_hide_the_seconds_of_single_texts() -> None:
    """Arms that time whole grids share the table with those that time one text; only the latter make a speedup."""
    timings = pd.DataFrame(
        [
            _timing("full", "a", 2.0),
            _timing("full", "b", 4.0),
            _timing("softmax@0.5", "a", 1.0),
            _timing("softmax@0.5", "b", 2.0),
            _timing("grid:softmax", "a and 1 more", 9.0),
        ]
    )
    rules = pd.DataFrame({"measure": ["full", "softmax", "state"], "threshold": [float("nan"), 0.5, 0.5]})
    timed = with_seconds(rules, timings, seed=0)
    assert timed["seconds"].tolist()[:2] == [3.0, 1.5]
    assert timed["speedup"].tolist()[:2] == pytest.approx([1.0, 2.0])
    assert timed.loc[2, ["seconds", "speedup", "speedup_low", "speedup_high"]].isna().all()
