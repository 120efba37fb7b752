"""What is printed of rules that draft and verify."""

import pandas as pd

from calm_bench.summary import speculation

RULES = pd.DataFrame(
    {
        "rule": [0, 1, 2],
        "kind": ["full", "speculative", "adaptive"],
        "name": ["full", "speculative@1,2", "softmax@0.9"],
        "drafts": [None, 2, None],
    }
)
FRONTIER = pd.DataFrame(
    {"rule": [0, 1, 2], "measure": ["full", "speculative", "softmax"], "mean_exit_layer": [8.0, 10.0, 3.0]}
)


def test_drafts_kept_follow_from_layers_run() -> None:
    """24 layers a verification at 10 a token: 2.4 tokens, one of which the full model wrote itself."""
    words = "speculative@1,2: the full model's text, 1.40 of 2 drafts kept"
    assert speculation(FRONTIER, RULES) == [words]


def test_without_speculation_nothing_is_said() -> None:
    assert speculation(FRONTIER, RULES[RULES["kind"] != "speculative"]) == []
