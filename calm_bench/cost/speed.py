"""What a timings table answers: seconds of each arm over those of the full model, of a peer and of the ideal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from calm_bench import bootstrap

TEXTS = ("rule", "loop", "int8", "generate", "peer")  # the arms that decode one text
PEER = "CTranslate2 float32"  # what all are compared with
COLUMNS = (
    *("arm", "executor", "n", "mean_exit_layer", "milliseconds", "encoder_milliseconds"),
    *(f"over_{what}{end}" for what in ("full", "peer", "ideal") for end in ("", "_low", "_high")),
    *("gb_per_second", "bandwidth_share", "same_texts"),
)
GRID_COLUMNS = ("measure", "ratio", "low", "high", "n")
MEANS = ("seconds", "encoder_seconds", "n_tokens", "mean_exit_layer", "weight_bytes", "same_text")


@dataclass(frozen=True)
class _Timed:
    """An arm: what kind of arm and of rule, and means over the repeats, one row an example in the examples' order."""

    arm: str
    executor: str
    rule: str
    kind: str
    last_layer: int
    means: pd.DataFrame

    @property
    def name(self) -> str:
        own = {
            "rule": self.rule,
            "generate": self.executor.replace("transformers", "generate()"),
            "peer": self.executor,
        }
        return own.get(self.arm, f"{self.rule}, {self.arm}")

    @property
    def per_token(self) -> pd.Series:
        return self.means["seconds"] / self.means["n_tokens"]


def arms(timings: pd.DataFrame, rules: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per arm that decodes single texts; 95% intervals are bootstrap over examples, which are paired.

    Of one repeat there are none (NaN): nothing says how far the clock wavers.

    timings, rules: the tables of these names. Columns:
        arm: a rule's name, with the loop's beside it, `generate()`, or a peer.
        executor, n (examples), mean_exit_layer, milliseconds per text, encoder_milliseconds of them.
        over_full: seconds over those of the full model; over_peer: over CTranslate2's in float32, at full depth.
        over_ideal: of an adaptive rule, seconds per token over static exits' at its own mean layer, text by text
            (interpolated). 1 means that a saved layer saves what it should; the excess is what asking costs.
        gb_per_second: of weights read; bandwidth_share: the same over the speed at which this machine reads memory of
            that size, which is the arm `read`.
        same_texts: share of texts that are the recorded ones; of generate() and of peers, those of the full model.
    """
    read = timings[timings["arm"] == "read"].astype({"weight_bytes": float})
    bandwidth = read["weight_bytes"].sum() / read["seconds"].sum() if len(read) else np.nan
    timed = _timed(timings, rules)
    full = [one.means["seconds"] for one in timed if (one.arm, one.kind) == ("rule", "full")]
    peer = [one.means["seconds"] for one in timed if one.name == PEER]
    static = [one for one in timed if (one.arm, one.kind) == ("rule", "static")]
    rows = []
    for one in timed:
        ideal = [_ideal(static, one)] if (one.arm, one.kind) == ("rule", "adaptive") and len(static) > 1 else []
        means, tokens = one.means, one.means["n_tokens"]
        rate = means["weight_bytes"].sum(min_count=1) / means["seconds"].sum()
        rows.append(
            {
                "arm": one.name,
                "executor": one.executor,
                "n": len(means),
                "mean_exit_layer": (means["mean_exit_layer"] * tokens).sum() / tokens.sum(),
                "milliseconds": 1000 * means["seconds"].mean(),
                "encoder_milliseconds": 1000 * means["encoder_seconds"].mean(),
                **_over("full", means["seconds"], full, seed),
                **_over("peer", means["seconds"], peer, seed),
                **_over("ideal", one.per_token, ideal, seed),
                "gb_per_second": rate / 1e9,
                "bandwidth_share": rate / bandwidth,
                "same_texts": means["same_text"].mean(),
            }
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if not repeated(timings):
        table[[name for name in COLUMNS if name.endswith(("_low", "_high"))]] = np.nan
    return table


def repeated(timings: pd.DataFrame) -> bool:
    """Whether each arm ran more than once on a text."""
    return timings["repeat"].nunique() > 1


def grids(timings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Seconds of a grid's rules one after another over the same in one pass, by measure, n batches of examples."""
    seconds = {
        arm: timings[timings["arm"] == arm].groupby(["measure", "example"])["seconds"].mean()
        for arm in ("grid", "one_by_one")
    }
    rows = []
    for measure in seconds["grid"].index.get_level_values("measure").unique():
        together, apart = (seconds[arm].loc[measure].to_numpy() for arm in ("grid", "one_by_one"))
        ratio, *interval = map(float, bootstrap.ratio(apart, together, seed=seed))
        sure = repeated(timings) and len(together) > 1
        rows.append((measure, ratio, *(interval if sure else (np.nan, np.nan)), len(together)))
    return pd.DataFrame(rows, columns=list(GRID_COLUMNS))


def _timed(timings: pd.DataFrame, rules: pd.DataFrame) -> list[_Timed]:
    """The arms that decode single texts, rules first."""
    found = []
    for arm in TEXTS:
        ours = timings[timings["arm"] == arm].astype(dict.fromkeys(MEANS, float))
        for executor, rule in ours[["executor", "rule"]].drop_duplicates().sort_values("rule").itertuples(index=False):
            about = rules[rules["rule"] == rule].iloc[0]
            part = ours[(ours["executor"] == executor) & (ours["rule"] == rule)]
            means = part.groupby("example")[list(MEANS)].mean()
            found.append(_Timed(arm, executor, about["name"], about["kind"], int(about["last_layer"]), means))
    return found


def _ideal(static: list[_Timed], own: _Timed) -> pd.Series:
    """Seconds per token of static exits at each text's mean layer."""
    static = sorted(static, key=lambda one: one.last_layer)
    layers = [one.last_layer for one in static]
    seconds = np.array([one.per_token.to_numpy() for one in static])
    mean_layers = own.means["mean_exit_layer"]
    return pd.Series([np.interp(layer, layers, seconds[:, text]) for text, layer in enumerate(mean_layers)])


def _over(what: str, own: pd.Series, other: list[pd.Series], seed: int) -> dict[str, float]:
    """The ratio and its interval under their names; NaN where there is nothing to compare with."""
    value = low = high = np.array(np.nan)
    if other:
        value, low, high = bootstrap.ratio(own.to_numpy(), other[0].to_numpy(), seed=seed)
    return {f"over_{what}": float(value), f"over_{what}_low": float(low), f"over_{what}_high": float(high)}
