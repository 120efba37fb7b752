"""Small tables that fit the schema: two examples under the full model, the oracle and softmax at two thresholds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calm_bench.records.exits import count
from calm_bench.records.store import Run

RULES = [("full", None), ("oracle", None), ("softmax", 0.9), ("softmax", 0.5)]
EXAMPLES = ["a", "b"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just started, in an empty runs_dir."""
    return Run.create(tmp_path / "runs", "first", {"seed": 0, "task": {"name": "demo"}}, name="demo", seed=0)


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    """One frame per table of the schema, by the table's name."""
    rng = np.random.default_rng(0)
    adaptive = [threshold is not None for _, threshold in RULES]
    rules = pd.DataFrame(
        {
            "rule": range(len(RULES)), "name": ["full", "oracle", "softmax@0.9", "softmax@0.5"],
            "kind": ["full", "oracle", "adaptive", "adaptive"],
            "measure": ["softmax" if asked else None for asked in adaptive],
            "threshold": [threshold for _, threshold in RULES], "decay": "additive(tau=4)", "first_layer": 1,
            "last_layer": 8, "state_copying": "exit_state", "drafts": np.nan,
        }
    )  # fmt: skip
    examples = pd.DataFrame(
        {
            "example": range(len(EXAMPLES)), "id": EXAMPLES, "split": "validation", "cluster": [None, "a page"],
            "source": "translate English to French: A cat.",
            "references": [["Un chat.", "Une chatte."] for _ in EXAMPLES],
            "n_source_tokens": 9, "n_target_tokens": 4,
        }
    )  # fmt: skip
    rows = [(example, rule) for example in range(len(EXAMPLES)) for rule in range(len(RULES))]
    texts = pd.DataFrame(rows, columns=["example", "rule"])
    n = len(texts)
    generations = texts.assign(
        prediction="Un chat. \N{CAT FACE}", n_tokens=3, mean_exit_layer=rng.uniform(1, 8, n),
        score=rng.uniform(size=n), textual_loss=0.25, risk_loss=0.0, flops=1e9, flops_elbayad=9e8,
    )  # fmt: skip
    tokens = texts.loc[texts.index.repeat(3)].reset_index(drop=True)
    layers = rng.integers(1, 9, len(tokens))
    tokens = tokens.assign(
        position=np.tile([0, 1, 2], n),
        token_id=rng.integers(0, 4096, len(tokens)),
        piece=np.tile(["▁Un", "▁chat", "</s>"], n),
        exit_layer=layers,
        confidence=np.where((tokens["rule"] >= 2) & (layers < 8), 0.75, np.nan),
    )
    exits = count(*(tokens[name].to_numpy() for name in ("rule", "exit_layer", "position", "confidence")))
    frontier = pd.DataFrame({"rule": range(len(RULES))}).assign(
        n=2, score=40.0, score_low=39.0, score_high=41.0, mean_exit_layer=4.5, mean_exit_layer_low=4.0,
        mean_exit_layer_high=5.0, flops_reduction=1.7, flops_reduction_t5=1.5, textual_loss=0.1, risk_loss=0.01,
        seconds=[0.2, np.nan, 0.1, np.nan], speedup=[1.0, np.nan, 2.0, np.nan], speedup_low=np.nan, speedup_high=np.nan,
    )  # fmt: skip
    certificates = pd.DataFrame(
        {
            "objective": ["textual", "risk", "risk"], "delta": [0.1, 0.02, 0.02], "epsilon": 0.05,
            "measure": "softmax", "method": "ltt", "guarantee": "probability", "unit": "example", "together": 1,
            "n_calibration": [2, 2, 1], "nearest_delta": [np.nan, 0.05, np.nan],
            "nearest_rule": pd.array([None, 2, None], dtype="Int32"),
            "trial": pd.array([None, None, 0], dtype="Int32"), "rule": [2, 0, 3],
            "p_value": [0.01, np.nan, 0.02], "test_loss": [np.nan, np.nan, 0.1],
            "test_score": [np.nan, np.nan, 39.0], "mean_exit_layer": [4.0, 8.0, 3.0],
            "flops_reduction": [1.6, 1.0, 2.0],
        }
    )  # fmt: skip
    timings = texts.astype({"rule": "Int32"}).assign(
        arm="rule", measure=pd.array([None] * n, dtype="str"), executor="grid", repeat=0, order=range(n), seconds=0.02,
        encoder_seconds=0.004, n_tokens=3, mean_exit_layer=4.0, same_text=pd.array([None] * n, dtype="boolean"),
        weight_bytes=pd.array([None] * n, dtype="Int64"),
    )  # fmt: skip
    return {
        "rules": rules,
        "examples": examples,
        "exits": exits,
        "generations": generations,
        "tokens": tokens,
        "frontier": frontier,
        "certificates": certificates,
        "timings": timings,
    }
