"""The three questions of a speed benchmark, answered from a timings table as ratios with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from calm_bench import bootstrap

COLUMNS = ["comparison", "ratio", "low", "high", "n", "mean_exit_layer"]


def compare(timings: pd.DataFrame, rules: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Ratios of seconds, paired by example, 95% bootstrap intervals over examples.

    timings, rules: the tables of these names. Rows, as far as the arms were timed:
        generate / full: transformers' generate() over our full depth; above 1 means that ours is faster.
        MEASURE@LAMBDA / static: an adaptive rule over the static exits at its own mean exit layer (interpolated between
            the two nearest, for each text); 1 means that a saved layer saves what it should, the excess is the
            measure's own cost.
        one by one / grid, MEASURE: a grid's rules one after another over the same in one pass.

    Columns: comparison, ratio, low, high, n (examples or batches), mean_exit_layer.
    """
    rows: list[dict[str, object]] = []

    def add(name: str, over: pd.Series, under: pd.Series, layer: float) -> None:
        value, low, high = map(float, bootstrap.ratio(over.to_numpy(), under.to_numpy(), seed=seed))
        values = (name, value, low, high, len(over), layer)
        rows.append(dict(zip(COLUMNS, values, strict=True)))

    ours = _by_example(timings[timings["arm"] == "rule"], "rule")
    about = rules.set_index("rule").loc[list(ours)]
    full = next((rule for rule in ours if about.loc[rule, "kind"] == "full"), None)
    for table in _by_example(timings[timings["arm"] == "generate"], "arm").values():
        if full is not None:
            add("generate / full", table["seconds"], ours[full]["seconds"], ours[full]["mean_exit_layer"].mean())
    static = about[about["kind"] == "static"].sort_values("last_layer")["last_layer"]
    for rule in about.index[about["kind"] == "adaptive"] if len(static) > 1 else []:
        own, layers = ours[rule], ours[rule]["mean_exit_layer"]
        # Seconds per token, so that an early exit which changes the length of a text is not counted as a cost.
        at_layers = np.array([(ours[fixed]["seconds"] / ours[fixed]["n_tokens"]).to_numpy() for fixed in static.index])
        expected = [np.interp(layer, static, at_layers[:, text]) for text, layer in enumerate(layers)]
        per_token = own["seconds"] / own["n_tokens"]
        add(f"{about.loc[rule, 'name']} / static", per_token, pd.Series(expected), layers.mean())
    one_by_one = _by_example(timings[timings["arm"] == "one_by_one"], "measure")
    for measure, grid in _by_example(timings[timings["arm"] == "grid"], "measure").items():
        if measure in one_by_one:
            layer = grid["mean_exit_layer"].mean()
            add(f"one by one / grid, {measure}", one_by_one[measure]["seconds"], grid["seconds"], layer)
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_example(timings: pd.DataFrame, key: str) -> dict[Any, pd.DataFrame]:
    """For each value of `key`: mean seconds, tokens and exit layer of each example over the repeats, in one order."""
    columns = ["seconds", "mean_exit_layer", "n_tokens"]
    return {
        value: rows.groupby("example")[columns].mean()
        for value, rows in timings.astype(dict.fromkeys(columns, float)).groupby(key)
    }
