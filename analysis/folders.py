"""Which run folders count, and which of them may share a figure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import naming
from analysis.places import PARTIAL
from calm_bench.calibration import Outcomes
from calm_bench.errors import InputError
from calm_bench.records import losses
from calm_bench.records.rules import named
from calm_bench.records.schema import SCHEMAS
from calm_bench.records.store import Run, run_folders

OPTIONAL = ("timings", "certificates")


@dataclass(frozen=True)
class Finished:
    """A finished run; `group` and `setup` are empty until `group()` has named them."""

    record: Run
    group: str = ""
    setup: str = ""

    @property
    def folder(self) -> Path:
        return self.record.path

    @property
    def about(self) -> dict[str, Any]:
        return self.record.info

    @cached_property
    def config(self) -> dict[str, Any]:
        return dict(self.about.get("config") or {})

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def identity(self) -> dict[str, str]:
        """The columns that every row of this run carries."""
        name = str(self.about.get("name") or "run")
        return {
            "run_id": self.run_id,
            "name": name,
            "task": self._called("task"),
            "model": self._called("model"),
            "group": self.group,
        }

    @property
    def experiment(self) -> str:
        """The experiment and its task, once when they are one word."""
        return "-".join(dict.fromkeys((self.identity["name"], self.identity["task"])))

    @property
    def measures(self) -> frozenset[str]:
        chosen = self.config.get("measure") or {}
        return frozenset([chosen] if isinstance(chosen, str) else chosen)

    @property
    def same(self) -> str:
        """The config and the model, without the measures and what never changes a result."""
        # One config may have met two models, in a folder that was trained again.
        identity = (self.about.get("summary") or {}).get("model_identity")
        return f"{naming.same(self.config)} {identity}"

    @cached_property
    def outcomes(self) -> Outcomes:
        """What its rules did on its examples."""
        return losses.outcomes(self.record)

    def has(self, table: str) -> bool:
        """Whether it has this table; one that it must have and lacks is named when it is read."""
        return table in self.record.tables or not (table in OPTIONAL or PARTIAL in self.about)

    def read(
        self, table: str, rules: Collection[int] | None = None, examples: Collection[int] | None = None
    ) -> pd.DataFrame:
        """One of the run's tables, or its rows of these rules and examples, with readable columns beside the numbers.

        Empty where the run was asked for none, or where W&B has only a part of the run.
        """
        if not self.has(table):
            return self._readable(pd.DataFrame(columns=SCHEMAS[table].names))
        return self._readable(self.record.table(table).read(rules=rules, examples=examples))

    def check(self) -> None:
        """Raise InputError where one of its tables is not what was written."""
        for table in self.record.tables:
            self.record.table(table)

    @cached_property
    def _rules(self) -> pd.DataFrame:
        return self.record.read("rules")

    @cached_property
    def _examples(self) -> pd.Series:
        ids = self.record.read("examples", ["example", "id"]) if self.has("examples") else None
        return pd.Series(dtype=str) if ids is None else ids.set_index("example")["id"]

    def _readable(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With the run's identity, measure and threshold after rule, and example_id after example."""
        if "rule" in frame:
            frame = named(frame, self._rules)
        if "example" in frame and "id" not in frame:
            frame.insert(list(frame.columns).index("example") + 1, "example_id", frame["example"].map(self._examples))
        frame = frame.rename(columns={"id": "example_id", "name": "rule_name"})
        return frame.assign(**self.identity)[[*self.identity, *frame.columns]]

    def _called(self, key: str) -> str:
        value = self.config.get(key)
        if not isinstance(value, dict):
            return str(value or "unknown")
        return (
            str(value.get("name") or value.get("path") or value.get("hub") or "unknown").rstrip("/").rsplit("/", 1)[-1]
        )


def finished(paths: list[Path]) -> tuple[list[Finished], list[str]]:
    """The finished runs under `paths`, oldest first, and a note for each one left out."""
    found: dict[str, Finished] = {}
    notes = [note for path in paths for note in _without_record(path)]
    for folder in dict.fromkeys(folder.resolve() for path in paths for folder in run_folders(path)):
        try:
            record = Run.open(folder)
        except InputError as error:
            notes.append(f"left out {folder.name}: unreadable: {error}")
            continue
        run = Finished(record)
        if record.status != "finished":
            notes.append(f"left out {folder.name}: its status is {record.status}, not finished")
        elif run.run_id in found:
            notes.append(f"left out {folder}: run {run.run_id} was already read from {found[run.run_id].folder}")
        else:
            found[run.run_id] = run
    runs = sorted(found.values(), key=lambda run: (str(run.about.get("created", "")), run.run_id))
    return runs, notes


def group(runs: list[Finished]) -> tuple[list[Finished], list[str]]:
    """Name each run's group and setup; an older repeat of the same config is left out, with a note.

    Runs of one experiment and task with one config, apart from disjoint measures, share a group. Any other difference
    separates: the group's name then says what differs (the model, the seed, a value) or, failing that, the run. A setup
    is a group whatever its seed.
    """
    notes: list[str] = []
    kept: list[Finished] = []
    for run in reversed(runs):
        rival = next(
            (k for k in kept if (k.experiment, k.same) == (run.experiment, run.same) and k.measures & run.measures),
            None,
        )
        if rival is None:
            kept.insert(0, run)
        else:
            notes.append(f"left out {run.run_id}: {rival.run_id} is a later run of the same config")
    named: list[Finished] = []
    for experiment in dict.fromkeys(run.experiment for run in kept):
        rivals = [run for run in kept if run.experiment == experiment]
        groups = {run.same: _label(run, [other for other in rivals if other.same != run.same]) for run in rivals}
        named += [replace(run, group=groups[run.same], setup=_setup(run, rivals, groups[run.same])) for run in rivals]
        if len(groups) > 1:
            labels = ", ".join(sorted(groups.values()))
            notes.append(f"{experiment}: {len(groups)} different configs are kept apart: {labels}")
    return named, notes


def _label(run: Finished, others: list[Finished], *free: str) -> str:
    """The shortest name that tells a run from others: experiment, then what its config says, or the run."""
    words = naming.words(naming.settings(run.config, *free), [naming.settings(o.config, *free) for o in others])
    return "-".join([run.experiment, *([run.run_id] if words is None else words)])


def _setup(run: Finished, rivals: list[Finished], group: str) -> str:
    """The name of a run's group without its seed; the group's, where another model had the same seed."""
    alike = [other for other in rivals if naming.same(other.config, "seed") == naming.same(run.config, "seed")]
    if len({other.same for other in alike}) > len({other.about.get("seed") for other in alike}):
        return group
    return _label(run, [other for other in rivals if other not in alike], "seed")


def _without_record(path: Path) -> list[str]:
    """A note for each folder of parquet files that lacks the run.json a run starts with."""
    begun = sorted({file.parent for file in path.glob("*/*.parquet")})
    return [f"left out {folder.name}: it has no run.json" for folder in begun if not (folder / "run.json").is_file()]
