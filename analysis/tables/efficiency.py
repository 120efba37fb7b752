"""Layers, FLOPs reduction and speedup at each promise (Table 2 of the paper), the published row under ours."""

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from analysis import paper
from analysis.style import ordered
from analysis.tables.certified import certified
from calm_bench.errors import InputError

KEYS = ["objective", "delta", "measure"]
TITLES = {"layers": "layers", "flops_reduction": "FLOPs reduction", "speedup": "speedup"}
COLUMNS = ["task", "group", *KEYS, "source", "layers", "layers_low", "layers_high", "flops_reduction", "speedup"]
COLUMNS += ["trials", "epsilon"]
OURS, PUBLISHED = "this run", "published"


def efficiency(certificates: pd.DataFrame, frontier: pd.DataFrame, *, method: str = "ltt") -> pd.DataFrame:
    """One row per operating point of every group, averaged over trials, and the paper's where it has that point.

    Columns: task, group, objective, delta, measure, source ("this run" or "published"), layers (mean decoder layers per
    token), layers_low and layers_high (2.5th and 97.5th percentile over trials), flops_reduction (full / early),
    speedup (full / early, of the threshold certified on all examples; NaN where it was not timed), trials, epsilon.
    Without held-out trials the values are those certified on all examples, and trials is 0.

    Raises:
        InputError: no certificates of this method.
    """
    rows = certificates[certificates["method"] == method]
    if not len(rows):
        raise InputError(f"no certificates with method={method}")
    keys = ["task", "group", *KEYS, "epsilon"]
    whole = rows[rows["trial"].isna()]
    trials = rows[rows["trial"].notna()]
    base = trials if len(trials) else whole
    grouped = base.groupby(keys)
    ours = grouped.agg(
        layers=("mean_exit_layer", "mean"),
        layers_low=("mean_exit_layer", _low),
        layers_high=("mean_exit_layer", _high),
        flops_reduction=("flops_reduction", "mean"),
        trials=("trial", "count"),
    ).reset_index()
    speed = certified(rows, frontier)[["group", *KEYS, "epsilon", "speedup"]]
    ours = ours.merge(speed, how="left", on=["group", *KEYS, "epsilon"]).assign(source=OURS)
    table = pd.concat([ours, _published(ours)], ignore_index=True)
    return _sorted(table, ["group", *KEYS, "source"])[COLUMNS]


def efficiency_wide(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: a row per objective, delta, measure and source, and three columns per group, as text."""
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in _sorted(table, [*KEYS, "source"]).to_dict("records"):
        line = rows.setdefault(tuple(row[key] for key in (*KEYS, "source")), {})
        for value, title in TITLES.items():
            line[f"{row['group']} {title}"] = _with_interval(row) if value == "layers" else _two_decimals(row[value])
    columns = [f"{group} {title}" for group in dict.fromkeys(table["group"]) for title in TITLES.values()]
    wide = pd.DataFrame(list(rows.values()), columns=columns).fillna("")
    names = pd.DataFrame(list(rows), columns=["objective", "δ", "measure", "source"])
    return pd.concat([names.assign(δ=names["δ"].map("{:g}".format)), wide], axis="columns")


def note(table: pd.DataFrame, runs: Sequence[str]) -> str:
    """What stands under the printed table: what the numbers are, which runs made them, and the published source."""
    epsilon = ", ".join(f"{value:g}" for value in sorted(table["epsilon"].unique()))
    said = (
        f"Layers: mean decoder layers per token over trials (2.5th to 97.5th percentile), ε = {epsilon}. "
        f"FLOPs reduction and speedup: full / early; an empty speedup was not timed. Runs: {', '.join(runs)}."
    )
    theirs = (table["source"] == PUBLISHED).any()
    return f"{said} Rows marked published: {paper.source('table2')}" if theirs else said


def missing(table: pd.DataFrame) -> list[str]:
    """The paper's operating points that the runs lack, one sentence per task that has runs, objective and delta."""
    ours = table[table["source"] == OURS]
    tasks = set(ours["task"])
    absent = [task for task in paper.TABLE2_TASKS if task not in tasks]
    said = [f"no runs on {', '.join(absent)}"] if absent else []
    theirs = paper.table2()
    held = pd.MultiIndex.from_frame(ours[["task", *KEYS]])
    lacking = theirs[theirs["task"].isin(tasks) & ~pd.MultiIndex.from_frame(theirs[["task", *KEYS]]).isin(held)]
    for _, point in lacking.groupby(["task", "objective", "delta"], sort=False):
        first, measures = point.iloc[0], ", ".join(point["measure"])
        said.append(
            f"no runs with objective={first['objective']}, delta={first['delta']:g} on {first['task']} ({measures})"
        )
    return said


def _published(ours: pd.DataFrame) -> pd.DataFrame:
    """The published rows of the operating points that a group has."""
    points = ours[["task", "group", *KEYS, "epsilon"]]
    return points.merge(paper.table2(), on=["task", *KEYS]).assign(source=PUBLISHED, trials=50)


def _sorted(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return table.sort_values(keys, key=_rank, kind="stable").reset_index(drop=True)


def _rank(column: pd.Series) -> pd.Series:
    """The paper's order: textual before risk, smaller delta first, softmax, state, classifier, ours before theirs."""
    if column.name == "objective":
        return column.map({"textual": 0, "risk": 1}).fillna(2)
    if column.name == "measure":
        return column.map({measure: place for place, measure in enumerate(ordered(column))})
    if column.name == "source":
        return column.map({OURS: 0, PUBLISHED: 1})
    return column


def _low(values: "pd.Series[float]") -> float:
    return float(values.quantile(0.025))


def _high(values: "pd.Series[float]") -> float:
    return float(values.quantile(0.975))


def _two_decimals(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _with_interval(row: dict[Hashable, Any]) -> str:
    text = _two_decimals(row["layers"])
    bounds = [_two_decimals(row[name]) for name in ("layers_low", "layers_high")]
    return f"{text} ({bounds[0]} to {bounds[1]})" if all(bounds) else text
