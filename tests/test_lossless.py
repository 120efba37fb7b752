"""What is printed of the rules that lose nothing, and of certified ones that are slower than they are."""

import pandas as pd

from calm_bench.summary import lossless

RULES = pd.DataFrame(
    {
        "rule": [0, 1, 2, 3],
        "kind": ["full", "speculative", "adaptive", "adaptive"],
        "name": ["full", "speculative@1,2", "softmax@0.9", "state@0.9"],
        "drafts": [None, 2, None, None],
    }
)
FRONTIER = pd.DataFrame(
    {
        "rule": [0, 1, 2, 3],
        "mean_exit_layer": [8.0, 10.0, 3.0, 3.0],
        "score": 50.0,
        "seconds": [0.009, 0.006, 0.007, 0.004],
        "speedup": [1.0, 1.5, 9 / 7, 2.25],
    }
)


def test_a_certified_rule_that_is_slower_is_named() -> None:
    heading, row, *named = lossless(FRONTIER, RULES, pd.DataFrame({"rule": [2, 3]}))
    assert heading.split("  ")[0] == "lossless"
    assert row.split() == ["speculative@1,2", "1.40", "of", "2", "10.00", "50.0", "0.0060", "1.50"]
    assert named == ["softmax@0.9 is slower than speculative@1,2, which loses nothing", ""]


def test_the_full_model_may_be_the_best_of_them() -> None:
    slow = FRONTIER.assign(seconds=[0.005, 0.006, 0.007, 0.004])
    *_, named, _ = lossless(slow, RULES, pd.DataFrame({"rule": [2, 3]}))
    assert named == "softmax@0.9 is slower than full, which loses nothing"


def test_without_seconds_or_speculation_nothing_is_compared() -> None:
    untimed = FRONTIER.assign(seconds=float("nan"), speedup=float("nan"))
    assert len(lossless(untimed, RULES, pd.DataFrame({"rule": [2]}))) == 3
    assert lossless(FRONTIER[FRONTIER["rule"] != 1], RULES, pd.DataFrame({"rule": [2]})) == []
