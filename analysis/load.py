"""Run folders in, tidy frames out. Every frame says which run, experiment, task and model a row belongs to."""

import dataclasses
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from analysis import folders, naming, sources
from calm_bench.errors import InputError

TABLES = ("generations", "tokens", "frontier", "certificates", "timings", *folders.PROBES)
IDENTITY = ("run_id", "name", "task", "model", "group")
BASELINES = ("static", "oracle", "full")


@dataclass(frozen=True)
class Records:
    """What one or several finished runs left, as tidy frames.

    Every frame carries run_id, name (the experiment), task, model and group; group names the runs that may share a
    figure: one experiment on one task with one model and one config, whose measures may have been run one by one.
    The other columns are those of the files of the same name (calm_bench.records.schema).

    runs: one row per run, with setup (the group whatever its seed), created, seed, command (what was typed to make it),
        config (the resolved one), layers (L of the model), quality (the score's name), similarity (that of the losses,
        1 - similarity), commit, hardware, promises (list of sentences) and folder.
    notes: what was left out or separated, one sentence each.
    """

    runs: pd.DataFrame
    generations: pd.DataFrame
    tokens: pd.DataFrame
    frontier: pd.DataFrame
    certificates: pd.DataFrame
    timings: pd.DataFrame
    reliability: pd.DataFrame
    perturbation: pd.DataFrame
    classifier_f1: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in the order of their first run."""
        return list(dict.fromkeys(self.runs["group"]))

    def of(self, group: str) -> "Records":
        """The records of one group. Baselines that several of its runs hold are kept once."""
        part = self.only(self.runs["group"] == group)
        return dataclasses.replace(
            part,
            generations=_baselines_once(part.generations),
            tokens=_baselines_once(part.tokens),
            frontier=_baselines_once(part.frontier),
        )

    def only(self, chosen: pd.Series) -> "Records":
        """The records of the runs where `chosen`, as long as `runs`, is true."""
        ids = self.runs.loc[chosen, "run_id"]
        parts = {name: getattr(self, name) for name in ("runs", *TABLES)}
        parts = {name: _rows_of(frame, ids).reset_index(drop=True) for name, frame in parts.items()}
        return dataclasses.replace(self, **parts)

    def setting(self, key: str) -> pd.Series:
        """The value of a config key, such as "threshold.tau", in each run; None where a run has no such key."""
        values = [naming.settings(config).get(key) for config in self.runs["config"]]
        return pd.Series(values, index=pd.Index(self.runs["run_id"], name="run_id"), name=key, dtype=object)


def load(paths: Iterable[str | Path] | str | Path = (), *, wandb: str | None = None, quiet: bool = False) -> Records:
    """Read run folders, or folders that hold run folders; offline `.wandb` files and their folders; a W&B project.

    Unfinished runs and older repeats of the same config are left out; each is said on standard error (not when
    `quiet`) and in `notes`.

    Args:
        wandb: ENTITY/PROJECT, whose runs are fetched through the W&B API.

    Raises:
        InputError: a path holds no finished run, a file is torn or lacks a column, or is of another schema.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    with TemporaryDirectory(prefix="calm-bench-") as scratch:
        places, partial = sources.run_folders([Path(path) for path in given], wandb, Path(scratch))
        found, notes = folders.finished(places)
        if not found:
            where = ", ".join([*map(str, given), *([wandb] if wandb else [])]) or "no path given"
            raise InputError(
                f"no finished run in {where}: {notes[0] if notes else 'expected folders that hold a run.json'}"
            )
        grouped, more = folders.group(found)
        notes = [*partial, *notes, *more]
        if not quiet:
            for note in notes:
                print(note, file=sys.stderr)
        frames: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
        for run in grouped:
            for name in TABLES:
                frames[name].append(_with_identity(run.read(name), run.identity))
        rows = [run.identity | _about(run) for run in grouped]
    tables = {name: _stack(parts) for name, parts in frames.items()}
    return Records(runs=pd.DataFrame(rows), **tables, notes=tuple(notes))


def _about(run: "folders.Finished") -> dict[str, Any]:
    summary = run.about.get("summary") or {}
    layers = summary.get("layers") or run.read("frontier")["mean_exit_layer"].max()
    environment = run.about.get("environment") or {}
    gpu = environment.get("gpu") or {}
    return {
        "setup": run.setup,
        "created": run.about.get("created", ""),
        "seed": run.about.get("seed"),
        "command": str(run.about.get("command") or ""),
        "config": run.config,
        "layers": round(layers),
        "quality": str(summary.get("quality") or "score"),
        "similarity": str(summary.get("similarity") or "similarity"),
        "commit": str(environment.get("git_commit") or ""),
        "hardware": str(gpu.get("name") or environment.get("cpu") or ""),
        "promises": list(run.about.get("promises") or []),
        "folder": str(run.folder),
    }


def _with_identity(frame: pd.DataFrame, identity: dict[str, str]) -> pd.DataFrame:
    return frame.assign(**{key: identity[key] for key in IDENTITY})[[*IDENTITY, *frame.columns]]


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]


def _rows_of(frame: pd.DataFrame, run_ids: "pd.Series[str]") -> pd.DataFrame:
    """The rows of these runs; those of one run lie together, and a slice of a million tokens copies nothing."""
    places = np.flatnonzero(frame["run_id"].isin(run_ids))
    if len(places) and len(places) == places[-1] - places[0] + 1:
        return frame.iloc[places[0] : places[-1] + 1]
    return frame.iloc[places]


def _baselines_once(frame: pd.DataFrame) -> pd.DataFrame:
    if frame["run_id"].nunique() < 2:
        return frame
    baseline = frame["measure"].isin(BASELINES)
    first = frame.loc[baseline].groupby("measure")["run_id"].transform("first")
    keep = frame.loc[baseline, "run_id"] == first
    return frame[~baseline | keep.reindex(frame.index, fill_value=False)].reset_index(drop=True)
