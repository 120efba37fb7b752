"""`python -m analysis.compact RUNS --out DIR`: records small enough to publish, with all numbers and no text.

Texts of a data set may be measured without being anybody's to pass on, and tokens are most of a record. What is left
reads as any record does: all tables and figures but those that show texts, and new promises at another δ or ε. Scores
and losses of single texts are rounded to seven digits, float32's: what is cut off is digits that do not compress.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis import folders
from analysis.folders import Finished
from analysis.places import PARTIAL
from calm_bench import console
from calm_bench.errors import InputError
from calm_bench.records import tables
from calm_bench.records.atomic import make_folder, replacing
from calm_bench.records.store import RUN_FILE

LEFT_OUT = ("tokens",)
LEVEL = 19  # of zstd: slow, and once
BLANK: dict[str, dict[str, Any]] = {"examples": {"source": "", "references": []}, "generations": {"prediction": ""}}
"""Columns that hold texts, by their table, and what stands there instead."""
ROUNDED = {"generations": ("score", "textual_loss", "risk_loss")}
"""Columns of float64 whose values are rounded to float32, by their table."""


def compact(run: Finished, out: Path) -> Path:
    """Write the run without texts and tokens to a folder of its id in `out`; that folder.

    run.json stays but for the tables' digests, the folders of the machine, of which the last name stays, and `partial`,
    which says that something is left out.
    """
    folder = out / run.run_id
    make_folder(folder)
    kept = [name for name in run.record.tables if name not in LEFT_OUT]
    entries = {}
    for name in kept:
        table = run.record.table(name)
        file = tables.write(folder / f"{name}.parquet", table.columns, _for_publishing(name, table), LEVEL)
        entries[name] = [vars(file)]
    about = {
        **run.about,
        "command": command_without_folders(run.about["command"]),
        "config": _without_folders(run.config),
        "tables": entries,
        PARTIAL: True,
    }
    with replacing(folder / RUN_FILE) as stream:
        stream.write(f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode())
    return folder


def command_without_folders(command: str) -> str:
    """The command with the last name alone of each path, as in the configuration."""
    return re.sub(r"\b((?:[a-z]+\.)?path=|runs_dir=)\S*/(?=[^/\s])", r"\1", command)


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    def last(group: Any) -> Any:
        path = group.get("path") if isinstance(group, dict) else None
        return {**group, "path": Path(path).name} if isinstance(path, str) else group

    return {name: last(group) for name, group in config.items()} | {"runs_dir": Path(str(config.get("runs_dir"))).name}


def _for_publishing(name: str, table: tables.Table) -> Iterator[pa.Table]:
    for batch in table.batches():
        part = pa.Table.from_batches([batch])
        for column, blank in BLANK.get(name, {}).items():
            part = _with(part, column, pa.array([blank] * len(part), part.schema.field(column).type))
        for column in ROUNDED.get(name, ()):
            part = _with(part, column, part[column].cast(pa.float32()).cast(pa.float64()))
        yield part


def _with(part: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return part.set_column(part.schema.get_field_index(column), part.schema.field(column), values)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, or 2 after one line on standard error."""
    console.prepare()
    parser = argparse.ArgumentParser(prog="python -m analysis.compact", description=__doc__)
    parser.add_argument("runs", metavar="RUNS", nargs="+", type=Path, help="a run folder, or a folder that holds some")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the compact records go")
    options = parser.parse_args(arguments)
    try:
        found, notes = folders.finished(options.runs)
        if not found:
            raise InputError(f"no finished run in {', '.join(map(str, options.runs))}")
        for run in found:
            written = compact(run, options.out)
            size = sum(file.stat().st_size for file in written.iterdir())
            console.say(f"{written}: {size / 1e6:.2f} MB")
    except InputError as error:
        console.complain(f"error: {error}")
        return 2
    for note in notes:
        console.complain(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
