"""Counts of exits: what they add up to, and what is read off them."""

import numpy as np
import pandas as pd
import pytest

from calm_bench.records.exits import added, by_layer, by_position, count

NAMES = ("rule", "exit_layer", "position", "confidence")


def counted(tokens: pd.DataFrame) -> pd.DataFrame:
    return count(*(tokens[name].to_numpy() for name in NAMES))


@pytest.fixture
def tokens() -> pd.DataFrame:
    """500 tokens of 3 rules, 8 layers and 5 positions; what leaves at the last layer has no confidence."""
    rng = np.random.default_rng(0)
    layers = rng.integers(1, 9, 500)
    confidences = np.where(layers < 8, rng.random(500), np.nan)
    columns = (rng.integers(0, 3, 500), layers, rng.integers(0, 5, 500), confidences)
    return pd.DataFrame(dict(zip(NAMES, columns, strict=True)))


def test_counts_of_parts_add_up_to_those_of_the_whole(tokens: pd.DataFrame) -> None:
    whole = counted(tokens)
    parts = added(counted(tokens[start : start + 70]) for start in range(0, 500, 70))
    pd.testing.assert_frame_equal(parts, whole, check_dtype=False)
    assert whole["count"].sum() == 500
    assert whole.loc[whole["layer"] == 8, "confidence_sum"].isna().all()
    assert whole["confidence_sum"].sum() == pytest.approx(tokens["confidence"].sum())


def test_layers_and_positions_are_those_of_the_tokens(tokens: pd.DataFrame) -> None:
    exits = counted(tokens)
    layers = by_layer(exits, ["rule"]).set_index(["rule", "layer"])
    expected = tokens.groupby(["rule", "exit_layer"])["confidence"].agg(["size", "mean"])
    assert layers["n_tokens"].tolist() == expected["size"].tolist()
    np.testing.assert_allclose(layers["confidence"], expected["mean"])
    assert layers.groupby("rule")["share"].sum().tolist() == pytest.approx([1, 1, 1])
    positions = by_position(exits, ["rule"])
    expected = tokens.groupby(["rule", "position"])["exit_layer"].agg(["size", "mean", "std"])
    for found, value in (("n_tokens", "size"), ("mean_exit_layer", "mean"), ("exit_layer_sd", "std")):
        np.testing.assert_allclose(positions[found], expected[value])
