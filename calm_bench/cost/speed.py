"""The three questions of a speed benchmark, answered from a timings table as ratios with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from calm_bench import bootstrap


def compare(timings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Ratios of seconds, paired by example, 95% bootstrap intervals over examples.

    Rows, as far as the arms were timed:
        generate / full: transformers' generate() over our full depth; above 1 means that ours is faster.
        MEASURE@LAMBDA / static: an adaptive rule over the static exits at its own mean exit layer (interpolated between
            the two nearest, for each text); 1 means that a saved layer saves what it should, the excess is the
            measure's own cost.
        one by one / grid, MEASURE: a grid's rules one after another over the same in one pass.

    Columns: comparison, ratio, low, high, n (examples or batches), mean_exit_layer.
    """
    table = timings.groupby(["arm", "example_id"])[["seconds", "mean_exit_layer", "n_tokens"]].mean().unstack()
    seconds = table["seconds"]
    rows = []

    def add(name: str, over: np.ndarray, under: np.ndarray, layer: float) -> None:
        known = ~(np.isnan(over) | np.isnan(under))
        value, low, high = map(float, bootstrap.ratio(over[known], under[known], seed=seed))
        rows.append(
            {
                "comparison": name,
                "ratio": value,
                "low": low,
                "high": high,
                "n": int(known.sum()),
                "mean_exit_layer": layer,
            }
        )

    arms = set(seconds.index)
    if {"generate", "full"} <= arms:
        depth = float(table["mean_exit_layer"].loc["full"].mean())
        add("generate / full", seconds.loc["generate"].to_numpy(), seconds.loc["full"].to_numpy(), depth)
    static = sorted((arm for arm in arms if arm.startswith("static@")), key=_layer)
    for arm in [arm for arm in seconds.index if "@" in arm and arm not in static] if len(static) > 1 else []:
        # Seconds per token, so that an early exit which changes the length of a text is not counted as a cost.
        per_token = seconds / table["n_tokens"]
        layers = table["mean_exit_layer"].loc[arm].to_numpy()
        grid = per_token.loc[static].to_numpy()
        expected = np.array(
            [np.interp(layer, [_layer(name) for name in static], grid[:, e]) for e, layer in enumerate(layers)]
        )
        add(f"{arm} / static", per_token.loc[arm].to_numpy(), expected, float(np.nanmean(layers)))
    for arm in seconds.index:
        other = arm.replace("grid:", "one_by_one:")
        if arm.startswith("grid:") and other in arms:
            over, under = seconds.loc[other].to_numpy(), seconds.loc[arm].to_numpy()
            add(
                f"one by one / grid, {arm.removeprefix('grid:')}",
                over,
                under,
                float(table["mean_exit_layer"].loc[arm].mean()),
            )
    return pd.DataFrame(rows)


def _layer(arm: str) -> int:
    return int(arm.removeprefix("static@"))
