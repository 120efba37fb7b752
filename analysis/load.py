"""Run folders in, tidy frames out. Every frame says which run, experiment, task and model a row belongs to."""

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from analysis import folders, grouping, naming, places
from analysis.folders import Finished
from calm_bench import progress
from calm_bench.errors import InputError

IDENTITY = ("run_id", "name", "task", "model", "group")  # what every row says
TABLES = ("rules", "examples", "exits", "frontier", "certificates", "timings")


@dataclass(frozen=True)
class Records:
    """What one or several finished runs left, as tidy frames.

    Every frame carries run_id, name (the experiment), task, model and group; group names the runs that may share a
    figure: one experiment on one task with one config, whose measures may have been run one by one, and again with
    other seeds.
    The other columns are those of the files of the same name (calm_bench.records.schema); beside the number of a rule
    stand measure (a confidence measure, full, oracle or static) and threshold (λ, or the layer of static), beside that
    of an example its example_id. A rule is told from every other by run_id and rule.

    runs: one row per run, with draw (its seeds in words: which repetition of its group it is), created, seed, command
        (what was typed to make it), config (the resolved one), layers (L of the model), quality (the score's name),
        similarity (that of the losses, 1 - similarity), trivial (the summary's entry for the trivial baseline, or
        None), commit, hardware (the card, or the processor), promises (list of sentences) and folder.
    certificates: also with the score and the speedups of the certified rule, as `frontier` has them.
    probes: by its name, what each probe has answered in the runs that were asked for it; see `probe`.
    stored: by run_id, what is read only when it is asked for: `generations`, `tokens`, and the losses.
    notes: what was left out or separated, one sentence each.
    """

    runs: pd.DataFrame
    rules: pd.DataFrame
    examples: pd.DataFrame
    exits: pd.DataFrame
    frontier: pd.DataFrame
    certificates: pd.DataFrame
    timings: pd.DataFrame
    probes: Mapping[str, pd.DataFrame]
    stored: Mapping[str, Finished] = field(repr=False)
    notes: tuple[str, ...] = ()
    scratch: TemporaryDirectory[str] | None = field(default=None, repr=False)
    """Where runs lie that W&B had: it is gone when nobody has these records any more."""

    def probe(self, name: str) -> pd.DataFrame:
        """What the probe called `name` has answered; no rows where no run was asked for it."""
        return self.probes.get(name, pd.DataFrame(columns=[*IDENTITY]))

    def generations(self, rules: pd.DataFrame, examples: Collection[int] | None = None) -> pd.DataFrame:
        """The texts of `rules` (some of this frame's rows) on these or all examples, with their scores and losses."""
        return self._read("generations", rules, examples)

    def tokens(self, rules: pd.DataFrame, examples: Collection[int] | None = None) -> pd.DataFrame:
        """The same of tokens; there may be tens of millions, so ask for few rules or few examples."""
        return self._read("tokens", rules, examples)

    def _read(self, table: str, rules: pd.DataFrame, examples: Collection[int] | None) -> pd.DataFrame:
        groups = dict(zip(self.runs["run_id"], self.runs["group"], strict=True))
        parts = [
            self.stored[str(run_id)].read(table, chosen["rule"].tolist(), examples).assign(group=groups[run_id])
            for run_id, chosen in rules.groupby("run_id", sort=False)
        ]
        if not parts:
            raise InputError(f"no rule to read {table}.parquet for")
        return _stack(parts)

    @property
    def quality(self) -> str:
        """The name of the score, in the first run."""
        return str(self.runs["quality"].iloc[0])

    @property
    def similarity(self) -> str:
        """The name of the similarity whose complement the losses are, in the first run."""
        return str(self.runs["similarity"].iloc[0])

    @property
    def layers(self) -> int:
        """L of the deepest model."""
        return int(self.runs["layers"].max())

    @property
    def timed_on(self) -> str:
        """The cards and processors whose seconds these are; empty where none was measured."""
        timed = self.runs["run_id"].isin(self.timings["run_id"])
        return " and ".join(dict.fromkeys(filter(None, self.runs.loc[timed, "hardware"])))

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in the order of their first run."""
        return list(dict.fromkeys(self.runs["group"]))

    @property
    def draws(self) -> list[str]:
        """The repetitions of a group's setup, by their seeds; the first stands for all where one run must."""
        return list(dict.fromkeys(self.runs["draw"]))

    def of(self, group: str) -> "Records":
        """The records of one group. Baselines that several runs of the same seeds hold are kept once."""
        part = self.only(self.runs["group"] == group)
        draws = part.rules["run_id"].map(part.runs.set_index("run_id")["draw"])
        first = part.rules["run_id"].groupby([draws, part.rules["measure"]]).transform("first")
        kept = part.rules[(part.rules["kind"] == "adaptive") | (part.rules["run_id"] == first)]
        return dataclasses.replace(
            part,
            rules=kept.reset_index(drop=True),
            frontier=of_rules(part.frontier, kept),
            exits=of_rules(part.exits, kept),
        )

    def one(self) -> "Records":
        """The records of the first of a group's `draws`; of several, its frames call the group by this one."""
        if len(self.draws) < 2:
            return self
        first = self.draws[0]
        part = self.only(self.runs["draw"] == first)
        return part.each_frame(
            lambda frame: frame.assign(group=frame["group"] + f", {first} (one of {len(self.draws)})")
        )

    def only(self, chosen: pd.Series) -> "Records":
        """The records of the runs where `chosen`, as long as `runs`, is true."""
        ids = self.runs.loc[chosen, "run_id"]
        return self.each_frame(lambda frame: frame[frame["run_id"].isin(ids)].reset_index(drop=True))

    def each_frame(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> "Records":
        """The records with every frame changed alike."""
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in ("runs", *TABLES)}
        return dataclasses.replace(self, **changed, probes={name: change(frame) for name, frame in self.probes.items()})

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
    scratch = TemporaryDirectory(prefix="calm-bench-")
    at, partial = places.run_folders([Path(path) for path in given], wandb, Path(scratch.name))
    found, notes = folders.finished(at)
    if not found:
        where = ", ".join([*map(str, given), *([wandb] if wandb else [])]) or "no path given"
        reasons = [*partial, *notes, "expected folders that hold a run.json"]
        raise InputError(f"no finished run in {where}: {reasons[0]}")
    grouped, more = grouping.group(found)
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    answers: dict[str, list[pd.DataFrame]] = {}
    rows, stored = [], {}
    for run in progress.each(grouped, len(grouped), "read", "run"):
        try:
            run.check()
            read = {name: _tidy(run, name) for name in TABLES}
            asked = {name: run.read(name) for name in run.record.probes}
            about = run.identity | _about(run)
        except InputError as error:
            more.append(f"left out {run.run_id}: {error}")
            continue
        for name, frame in read.items():
            frames[name].append(frame)
        for name, frame in asked.items():
            answers.setdefault(name, []).append(frame)
        rows.append(about)
        stored[run.run_id] = run
    notes = [*partial, *notes, *more]
    if not rows:
        raise InputError(notes[-1])
    if not quiet:
        for note in notes:
            print(note, file=sys.stderr)
    tables = {name: _stack(parts) for name, parts in frames.items()}
    probes = {name: _stack(parts) for name, parts in answers.items()}
    return Records(runs=pd.DataFrame(rows), **tables, probes=probes, stored=stored, notes=tuple(notes), scratch=scratch)


def of_rules(frame: pd.DataFrame, rules: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` whose run_id and rule are among those of `rules`."""
    keys = ["run_id", "rule"]
    wanted = pd.MultiIndex.from_frame(rules[keys])
    return frame[pd.MultiIndex.from_frame(frame[keys]).isin(wanted)].reset_index(drop=True)


def _tidy(run: Finished, table: str) -> pd.DataFrame:
    frame = run.read(table)
    if table == "certificates":
        speedups = ["score", "speedup", "speedup_low", "speedup_high"]
        return frame.merge(run.read("frontier")[["rule", *speedups]], how="left", on="rule")
    return frame


def _about(run: Finished) -> dict[str, Any]:
    summary = run.about.get("summary") or {}
    layers = summary.get("layers") or run.read("frontier")["mean_exit_layer"].max()
    environment = run.about.get("environment") or {}
    return {
        "draw": run.draw,
        "created": run.about.get("created", ""),
        "seed": run.about.get("seed"),
        "command": str(run.about.get("command") or ""),
        "config": run.config,
        "layers": round(layers),
        "quality": str(summary.get("quality") or "score"),
        "similarity": str(summary.get("similarity") or "similarity"),
        "commit": str(environment.get("git_commit") or ""),
        "hardware": run.hardware,
        "trivial": summary.get("trivial"),
        "promises": list(run.about.get("promises") or []),
        "folder": str(run.folder),
    }


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]
