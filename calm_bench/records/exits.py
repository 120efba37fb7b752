"""How many tokens left where: counts by rule, layer and position, which no number of texts makes longer."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

KEYS = ["rule", "layer", "position"]


def count(rule: np.ndarray, layer: np.ndarray, position: np.ndarray, confidence: np.ndarray) -> pd.DataFrame:
    """Rows of the table exits for M tokens, all (M,); confidence is NaN where none was asked for."""
    tokens = pd.DataFrame({"rule": rule, "layer": layer, "position": position, "confidence": confidence.astype(float)})
    groups = tokens.groupby(KEYS)["confidence"]
    return pd.DataFrame({"count": groups.size(), "confidence_sum": groups.sum(min_count=1)}).reset_index()


def added(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The counts of several parts of the tokens, as those of all."""
    total = pd.DataFrame(columns=[*KEYS, "count", "confidence_sum"])
    for part in parts:
        both = pd.concat([total, part]) if len(total) else part
        total = both.groupby(KEYS, as_index=False).sum(min_count=1)
    return total


def by_layer(exits: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Per value of `keys` (columns that say which rule) and layer: the tokens and their mean confidence, or NaN.

    Columns: keys, layer, n_tokens, confidence, and share, of the rule's tokens.
    """
    sums = exits.groupby([*keys, "layer"], dropna=False, as_index=False)[["count", "confidence_sum"]].sum(min_count=1)
    share = sums["count"] / sums.groupby(keys, dropna=False)["count"].transform("sum")
    rows = sums.assign(confidence=sums["confidence_sum"] / sums["count"], share=share)
    return rows.rename(columns={"count": "n_tokens"})[[*keys, "layer", "n_tokens", "confidence", "share"]]


def by_position(exits: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Per value of `keys` (columns that say which rule) and position: the texts that long, and where they leave.

    Columns: keys, position, n_tokens, mean_exit_layer, and exit_layer_sd (over these tokens, ddof 1; NaN for one).
    """
    layer, n = exits["layer"].astype(float), exits["count"]
    sums = exits.assign(_sum=layer * n, _squares=layer**2 * n)
    rows = sums.groupby([*keys, "position"], dropna=False, as_index=False)[["count", "_sum", "_squares"]].sum()
    mean = rows["_sum"] / rows["count"]
    variance = (rows["_squares"] - rows["count"] * mean**2).clip(lower=0) / (rows["count"] - 1).replace(0, np.nan)
    rows = rows.assign(mean_exit_layer=mean, exit_layer_sd=np.sqrt(variance))
    columns = [*keys, "position", "n_tokens", "mean_exit_layer", "exit_layer_sd"]
    return rows.rename(columns={"count": "n_tokens"})[columns]
