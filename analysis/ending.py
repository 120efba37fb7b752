"""What several runs of one command say once all have ended: their answer or their ranking, and what draws them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import answers
from analysis.load import Records, load
from calm_bench.console import aligned
from calm_bench.errors import InputError
from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run, run_folders

SHOWN = 20
"""Runs that a ranking lists at most, the best."""


def ending(folders: Sequence[Path], metric: str | None = None, maximize: bool = False) -> list[str]:
    """The lines for the finished runs in these folders, in their order; none where there are fewer than two.

    metric: of `records.scalars`, by which a sweep ranks its runs; else it is by layers at the certified promises.
    """
    folders = list(dict.fromkeys(folders))
    if len(folders) < 2:
        return []
    try:
        records = load(folders, quiet=True)
    except InputError as error:
        return [f"no ranking: {error}"]
    said = answers.lines(records) or ranking(records, metric, maximize)
    return ["", *said, "", f"drawn together: {command(folders)}"]


def ranking(records: Records, metric: str | None = None, maximize: bool = False) -> list[str]:
    """The runs from the best to the worst, each by what its command says and the others' do not."""
    layers = _certified(records)
    shared = list(layers.columns[layers.notna().all()])
    by = shared or list(layers.columns)
    if metric is None:
        order, title = layers[by].mean(axis=1), f"layers at the certified promises ({', '.join(by)}), fewest first"
    else:
        found = {run_id: scalars(records.stored[run_id].record).get(metric, np.nan) for run_id in layers.index}
        order, title = pd.Series(found), f"{metric}, {'highest' if maximize else 'lowest'} first"
    order = order.sort_values(ascending=not maximize, kind="stable", na_position="last")
    depth = records.runs.set_index("run_id")["layers"]
    own = _own_words(records.runs.set_index("run_id")["command"])
    rows = [["rank", *(["value"] if metric else []), *layers.columns, "run"]]
    for rank, (run_id, value) in enumerate(zip(map(str, order.index[:SHOWN]), order, strict=False), start=1):
        cells = [_cell(float(layer), depth[run_id]) for layer in layers.loc[run_id].to_numpy()]
        rows.append([str(rank), *([f"{value:.4g}"] if metric else []), *cells, own[run_id] or run_id])
    more = [f"and {len(order) - SHOWN} more"] if len(order) > SHOWN else []
    return [f"ranking of {len(order)} runs by {title}", *_to_the_left(aligned(rows), rows), *more]


def _cell(layers: float, depth: int) -> str:
    """Layers of a certified rule; `full` where only the full model keeps the promise."""
    if np.isnan(layers):
        return ""
    return "full" if layers >= depth else f"{layers:.2f}"


def _certified(records: Records) -> pd.DataFrame:
    """Mean layers a token of the shallowest certified rule: a row for each run, a column for each tolerance."""
    made = records.certificates[records.certificates["trial"].isna()]
    tolerance = made["objective"] + [f" {delta:g}" for delta in made["delta"]]
    by_run = made.assign(tolerance=tolerance).groupby(["run_id", "tolerance"], sort=False)["mean_exit_layer"].min()
    return by_run.unstack().reindex(records.runs["run_id"])[list(dict.fromkeys(tolerance))]


def _own_words(commands: pd.Series[str]) -> dict[str, str]:
    """Of each command the words that are not in all of them."""
    words = {str(run_id): shlex.split(command) for run_id, command in commands.items()}
    common = set.intersection(*map(set, words.values()))
    return {run_id: " ".join(word for word in said if word not in common) for run_id, said in words.items()}


def _to_the_left(lines: list[str], rows: list[list[str]]) -> list[str]:
    """Their last cells, which are words, from one column on."""
    return [line[: len(line) - len(row[-1])].rstrip() + "  " + row[-1] for line, row in zip(lines, rows, strict=True)]


def command(folders: Sequence[Path]) -> str:
    """What draws these runs, and no others, in one go."""
    (first, *others) = {folder.parent for folder in folders}
    out = first / "figures"
    given = [first] if not others and _all_of(first) == {folder.resolve() for folder in folders} else folders
    return shlex.join(["python", "-m", "analysis", *map(str, given), "--out", str(out)])


def _all_of(runs_dir: Path) -> set[Path]:
    """The finished runs in it."""
    found = set()
    for folder in run_folders(runs_dir):
        try:
            finished = Run.open(folder).status == "finished"
        except InputError:
            finished = False
        if finished:
            found.add(folder.resolve())
    return found
