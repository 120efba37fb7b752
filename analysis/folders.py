"""Which run folders count, and what each holds."""

from collections.abc import Collection
from dataclasses import dataclass
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
    """A finished run; `group` is empty until `grouping.group` has named it."""

    record: Run
    group: str = ""

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

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config but for the measures, the seeds and what never changes a result."""
        return naming.settings(self.config)

    @cached_property
    def draw(self) -> str:
        """Which repetition of its setup this is: its seeds."""
        return naming.draw(self.config)

    @property
    def model_identity(self) -> str:
        """A hash of the weights: one config may have met two models, in a folder that was trained again."""
        return str((self.about.get("summary") or {}).get("model_identity"))

    @property
    def timed(self) -> bool:
        """Whether its summary says seconds."""
        return bool((self.about.get("summary") or {}).get("speed"))

    @property
    def card(self) -> str:
        """The GPU that it ran on; empty for a processor."""
        gpu = (self.about.get("environment") or {}).get("gpu") or {}
        return "" if self.config.get("device") == "cpu" else str(gpu.get("name") or "")

    @property
    def hardware(self) -> str:
        """The card or the processor that it ran on; empty where the record does not say."""
        return self.card or str((self.about.get("environment") or {}).get("cpu") or "")

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


def _without_record(path: Path) -> list[str]:
    """A note for each folder of parquet files that lacks the run.json a run starts with."""
    begun = sorted({file.parent for file in path.glob("*/*.parquet")})
    return [f"left out {folder.name}: it has no run.json" for folder in begun if not (folder / "run.json").is_file()]
