"""Layers, FLOPs reduction and speedup at each promise (Table 2 of the paper), the published row under ours."""

import pandas as pd

from analysis import paper, scopes
from analysis.load import Records
from analysis.output import Output
from analysis.spread import spread
from analysis.style import ordered
from analysis.tables.formats import Table, with_interval
from analysis.tables.origins import OURS, PUBLISHED
from analysis.tables.scores import not_better
from calm_bench.errors import InputError

KEYS = ["objective", "delta", "measure"]
TITLES = {"layers": "layers", "flops_reduction": "FLOPs reduction", "speedup": "speedup"}
COUNTED = (
    "FLOPs: the formula of Elbayad et al. per token, keys and values of skipped layers included, and those of the "
    "encoder's states for the layers that a text visits. The published classifier and state rows of CNN/DM fit a "
    "projection by all layers to 0.3%; its softmax rows fit neither count."
)
COLUMNS = ["task", "setup", *KEYS, "source"]
COLUMNS += [name + end for name in TITLES for end in ("", "_low", "_high")]
COLUMNS += ["trials", "seeds", "epsilon", "interval"]


def efficiency(certificates: pd.DataFrame, runs: pd.DataFrame, *, method: str = "ltt") -> pd.DataFrame:
    """One row per operating point of every setup, averaged over trials, and the paper's where it has that point.

    certificates, runs: frames of `analysis.load`. A setup is a group: its seeds are pooled.

    Columns: task, setup, objective, delta, measure, source ("this run" or "published"); layers (mean decoder layers per
    token), flops_reduction (full / early) and speedup (full / early, of the threshold certified on all examples; NaN
    where it was not timed), each with _low and _high; trials (of each seed), seeds, epsilon, and interval, which says
    what the intervals of layers and FLOPs hold (`analysis.spread`). That of the speedup is a bootstrap over texts, of
    several seeds the least and the greatest end. Without held-out trials the values are those certified on all
    examples, trials is 0 and only the speedup has an interval.

    Raises:
        InputError: no certificates of this method.
    """
    rows = certificates[certificates["method"] == method]
    if not len(rows):
        raise InputError(f"no certificates with method={method}")
    setups, runs = runs.set_index("run_id")["group"], runs.assign(seed=runs["draw"])
    rows = rows.assign(setup=rows["run_id"].map(setups))
    by_setup = rows.groupby("setup", sort=False)
    ours = pd.concat([_over_trials(part, runs).assign(setup=setup) for setup, part in by_setup], ignore_index=True)
    ours = ours.merge(_speed(rows), how="left", on=["setup", *KEYS, "epsilon"]).assign(source=OURS)
    table = pd.concat([ours, _published(ours)], ignore_index=True)
    return _sorted(table, ["setup", *KEYS, "source"]).reindex(columns=COLUMNS)


def _over_trials(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Layers and FLOPs of one setup; over all seeds' trials where there are any."""
    if rows["trial"].notna().any():
        seeds = rows["run_id"].map(runs.set_index("run_id")["seed"]).nunique()
        pooled = spread(rows, runs, "seeds" if seeds > 1 else "both").rename(columns={"splits": "trials"})
    else:
        pooled = rows.groupby(["task", *KEYS, "epsilon"], as_index=False)[["mean_exit_layer", "flops_reduction"]].mean()
        pooled = pooled.assign(trials=0, seeds=rows["run_id"].map(runs.set_index("run_id")["seed"]).nunique())
    return pooled.rename(columns=lambda name: name.replace("mean_exit_layer", "layers"))


def _speed(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean speedup over the seeds of a setup, the least and the greatest end of their intervals."""
    whole = rows[rows["trial"].isna()]
    return whole.groupby(["setup", *KEYS, "epsilon"], as_index=False).agg(
        speedup=("speedup", "mean"), speedup_low=("speedup_low", "min"), speedup_high=("speedup_high", "max")
    )


def efficiency_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed, as text: a row per setup, objective, delta, measure and source."""
    names = table[["setup", *KEYS, "source"]].rename(columns={"setup": "experiment", "delta": "δ"})
    rows = table.to_dict("records")
    values = {title: [with_interval(row, value) for row in rows] for value, title in TITLES.items()}
    return names.assign(δ=names["δ"].map("{:g}".format), **values).reset_index(drop=True)


def efficiency_note(table: pd.DataFrame) -> str:
    """What stands under the printed table: what the numbers and their intervals are, and the published source."""
    epsilon = ", ".join(f"{value:g}" for value in sorted(table["epsilon"].unique()))
    held = "; ".join(dict.fromkeys(table["interval"].dropna()))
    said = (
        f"Mean decoder layers per token, FLOPs reduction (full / early){f', {held}' if held else ''}; ε = {epsilon}. "
        "Speedup: full / early seconds of the threshold certified on all examples, 95% over texts; empty: not timed."
    )
    theirs = (table["source"] == PUBLISHED).any()
    if not theirs:
        return said
    return f"{said} {COUNTED} Rows marked published: {paper.source('table2')}"


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
            f"no runs with objective={first['objective']}, δ={first['delta']:g} on {first['task']} ({measures})"
        )
    return said


def _published(ours: pd.DataFrame) -> pd.DataFrame:
    """The published rows of the operating points that a setup has."""
    points = ours[["task", "setup", *KEYS, "epsilon"]]
    return points.merge(paper.table2(), on=["task", *KEYS]).assign(source=PUBLISHED, trials=50, seeds=1)


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


def _of(records: Records) -> Table:
    table = efficiency(records.certificates, records.runs)
    note = " ".join(filter(None, [efficiency_note(table), _timed_on(records), not_better(records.runs)]))
    return Table(table, efficiency_shown(table), note, tuple(missing(table)))


def _timed_on(records: Records) -> str:
    """Whose seconds the speedups are of, in a sentence; empty where none was measured."""
    runs = records.runs[records.runs["run_id"].isin(records.timings["run_id"]) & (records.runs["hardware"] != "")]
    names = list(dict.fromkeys(runs["hardware"]))
    groups = [", ".join(dict.fromkeys(runs.loc[runs["hardware"] == name, "group"])) for name in names]
    said = names if len(names) < 2 else [f"{name} ({those})" for name, those in zip(names, groups, strict=True)]
    return f"Timed on {'; '.join(said)}." if said else ""


OUTPUTS = (Output("efficiency", "Layers, FLOPs and speedup at each promise", "Table 2", _of, scopes.ordinary),)
