"""Which rules stand for their measure where not every one can be shown; each is a row of `Records.rules`."""

from collections.abc import Iterator

import pandas as pd

from analysis.load import Records, of_rules
from analysis.style import ordered


def representative(part: Records) -> pd.DataFrame:
    """One rule per adaptive measure: what was certified at the loosest promise that every measure could keep.

    Textual promises before risk promises; where there is none, each measure's rule whose mean exit layer is nearest to
    half the layers. Of several seeds the first decides, and the rules are those of all.
    """
    chosen = _representative(part.one())[["measure", "threshold"]]
    return part.rules.merge(chosen, on=["measure", "threshold"])


def _representative(part: Records) -> pd.DataFrame:
    measures = ordered(part.rules.loc[part.rules["kind"] == "adaptive", "measure"])
    whole = certified(part)
    looser_first = whole[whole["measure"].isin(measures)].sort_values(
        ["objective", "delta"], ascending=False, kind="stable"
    )
    for _, rows in looser_first.groupby(["objective", "delta"], sort=False):
        chosen = rows.drop_duplicates("measure")
        if measures and set(measures) <= set(chosen["measure"]):
            return of_rules(part.rules, chosen)
    half = part.frontier["mean_exit_layer"].max() / 2
    adaptive = of_rules(part.frontier, part.rules[part.rules["kind"] == "adaptive"])
    nearest = (adaptive["mean_exit_layer"] - half).abs().groupby(adaptive["measure"]).idxmin()
    return of_rules(part.rules, adaptive.loc[nearest])


def own(certificates: pd.DataFrame) -> pd.DataFrame:
    """The certificates that each run issued itself, by its own method and ε; `calm_bench.certify` appends others."""
    settings = certificates[["method", "epsilon"]]
    first = certificates.groupby("run_id")[["method", "epsilon"]].transform("first")
    return certificates[(settings == first).all(axis=1)]


def certified(part: Records) -> pd.DataFrame:
    """The thresholds that each run certified itself on all examples: rows of its certificates."""
    chosen = own(part.certificates)
    return chosen[chosen["trial"].isna() & chosen["threshold"].notna()]


def shown(part: Records, most: int) -> pd.DataFrame:
    """At most `most` rules for the reader to pick from: the full model first, then certified ones, the oracle, and each
    measure's grid and the static layers, coarse steps before fine ones.

    Returned with the full model first, then in the order of a legend, thresholds descending.
    """
    picked = dict.fromkeys(_by_interest(part))
    rows = part.rules.loc[list(picked)[:most]]
    order = ["full", *ordered(set(rows["measure"]) - {"full"})]
    rows = rows.assign(_place=rows["measure"].map(order.index))
    return rows.sort_values(["_place", "threshold"], ascending=[True, False], kind="stable").drop(columns="_place")


def _by_interest(part: Records) -> Iterator[int]:
    """Labels of rows of `part.rules`."""
    rules = part.rules
    yield from rules.index[rules["kind"] == "full"]
    places = pd.Series(rules.index, pd.MultiIndex.from_frame(rules[["run_id", "rule"]]))
    whole = part.certificates[part.certificates["trial"].isna() & part.certificates["threshold"].notna()]
    for key in whole[["run_id", "rule"]].itertuples(index=False, name=None):
        yield int(places[key])
    yield from rules.index[rules["kind"] == "oracle"]
    others = rules[rules["kind"].isin(["adaptive", "static"])].sort_values("threshold", ascending=False)
    grids = [others.index[others["measure"] == measure] for measure in ordered(others["measure"])]
    for step in (6, 3, 2, 1):
        for grid in grids:
            yield from grid[::step]
