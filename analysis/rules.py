"""Which rules stand for their measure where not every one can be shown."""

from collections.abc import Iterator

import pandas as pd

from analysis.style import ordered

GRIDLESS = ("static", "oracle", "full")


def representative(certificates: pd.DataFrame, frontier: pd.DataFrame) -> dict[str, float]:
    """One threshold per adaptive measure: what was certified at the loosest promise that every measure could keep.

    Textual promises before risk promises; where there is none, each measure's threshold whose mean exit layer is
    nearest to half the layers.
    """
    adaptive = frontier[~frontier["measure"].isin(GRIDLESS)]
    measures = ordered(adaptive["measure"])
    whole = certificates[certificates["trial"].isna() & certificates["threshold"].notna()]
    looser_first = whole.sort_values(["objective", "delta"], ascending=False, kind="stable")
    for _, rows in looser_first.groupby(["objective", "delta"], sort=False):
        chosen = rows.drop_duplicates("measure").set_index("measure")["threshold"]
        if measures and set(measures) <= set(chosen.index):
            return {measure: float(chosen[measure]) for measure in measures}
    half = frontier["mean_exit_layer"].max() / 2
    nearest = (adaptive["mean_exit_layer"] - half).abs().groupby(adaptive["measure"]).idxmin()
    return {measure: float(adaptive.loc[nearest[measure], "threshold"]) for measure in measures}


def own(certificates: pd.DataFrame) -> pd.DataFrame:
    """The certificates that each run issued itself, by its own method and ε; `calm_bench.certify` appends others."""
    settings = certificates[["method", "epsilon"]]
    first = certificates.groupby("run_id")[["method", "epsilon"]].transform("first")
    return certificates[(settings == first).all(axis=1)]


def select(frame: pd.DataFrame, rules: dict[str, float]) -> pd.DataFrame:
    """The rows of `frame` that belong to one of `rules` (measure to threshold)."""
    return frame[frame["measure"].map(rules) == frame["threshold"]]


def shown(certificates: pd.DataFrame, frontier: pd.DataFrame, most: int) -> list[tuple[str, float | None]]:
    """At most `most` rules for the reader to pick from, as (measure, threshold): the full model first, then certified
    thresholds, the oracle, and each measure's grid and the static layers, coarse steps before fine ones.

    Returned with the full model first, then in the order of a legend, thresholds descending.
    """
    picked: dict[tuple[str, float | None], None] = {}
    for rule in _by_interest(certificates, frontier):
        if len(picked) < most:
            picked.setdefault(rule)
    order = ["full", *ordered({measure for measure, _ in picked} - {"full"})]
    return sorted(picked, key=lambda rule: (order.index(rule[0]), -(rule[1] or 0)))


def _by_interest(certificates: pd.DataFrame, frontier: pd.DataFrame) -> Iterator[tuple[str, float | None]]:
    held = set(frontier["measure"])
    yield from [("full", None)] if "full" in held else []
    whole = certificates[certificates["trial"].isna() & certificates["threshold"].notna()]
    yield from ((str(row.measure), float(str(row.threshold))) for row in whole.itertuples())
    yield from [("oracle", None)] if "oracle" in held else []
    grids = {
        measure: sorted(frontier.loc[frontier["measure"] == measure, "threshold"].dropna(), reverse=True)
        for measure in ordered(held - {"oracle", "full"})
    }
    for step in (6, 3, 2, 1):
        for measure, grid in grids.items():
            yield from ((measure, float(threshold)) for threshold in grid[::step])
