"""Tables that need not fit into memory: written part by part, read batch by batch, and never taken for another.

A file's digest and number of rows are kept apart from it (in run.json, or a chunk's chunk.json): a file that has been
torn, flipped or swapped is found when it is first read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from calm_bench.errors import InputError, in_one_line
from calm_bench.records import schema
from calm_bench.records.atomic import replacing

BATCH = 1 << 18  # rows read at once: a few megabytes a column


@dataclass(frozen=True)
class File:
    """A Parquet file as it was written: its name, its rows, and the SHA-256 of its bytes."""

    name: str
    rows: int
    sha256: str

    def fault(self, folder: Path) -> str | None:
        """What is wrong with the file in `folder`, in a few words; None where it is as it was written."""
        path = folder / self.name
        try:
            if _digest(path) != self.sha256:
                return "it is not the file that was written (its SHA-256 differs)"
            if (rows := pq.ParquetFile(path).metadata.num_rows) != self.rows:
                return f"it has {rows} rows, must have {self.rows}"
        except FileNotFoundError:
            return "it is missing"
        except (pa.ArrowException, OSError) as error:
            return f"it cannot be read ({in_one_line(error)})"
        return None


def write(path: Path, columns: pa.Schema, parts: Iterable[pa.Table], level: int | None = None) -> File:
    """Write `parts` one after another, each as row groups of its own, completely or not at all.

    `level` is zstd's, 1 to 22; None: what is quick. Without dictionaries of values files are a fifth smaller: what
    repeats is mostly near, as rules leave the same texts of an example.

    Raises:
        InputError: the folder cannot be written.
    """
    rows = 0
    with (
        replacing(path) as file,
        pq.ParquetWriter(file, columns, compression="zstd", compression_level=level, use_dictionary=False) as writer,
    ):
        for part in parts:
            writer.write_table(part)
            rows += len(part)
    return File(path.name, rows, _digest(path))


@dataclass(frozen=True)
class Table:
    """A table of a record: the rows of its `files`, one after another, in the columns that the schema calls `name`."""

    name: str
    files: Sequence[Path]

    @property
    def columns(self) -> pa.Schema:
        """What the schema says; what the file says of the table of a probe, which may be from outside the package."""
        return schema.SCHEMAS[self.name] if self.name in schema.SCHEMAS else pq.read_schema(self.files[0])

    def batches(
        self,
        columns: Sequence[str] | None = None,
        rules: Collection[int] | None = None,
        examples: Collection[int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows, a quarter of a million or fewer at a time: these columns, of these rules and examples alone.

        What lies in row groups without one of the `examples` is not read.

        Raises:
            InputError: a file is torn, or lacks a column of the schema or has it in another type.
        """
        wanted = self.columns.names if columns is None else list(columns)
        filters = {"rule": rules, "example": examples}
        chosen = {name: pa.array(sorted(v), pa.int32()) for name, v in filters.items() if v is not None}
        for path in self.files:
            try:
                file = pq.ParquetFile(path)
                schema.check(self.columns, file.schema_arrow, path)
                groups = _row_groups(file, examples) if examples is not None else list(range(file.num_row_groups))
                for batch in file.iter_batches(BATCH, groups, columns=list(dict.fromkeys([*wanted, *chosen]))):
                    for name, values in chosen.items():
                        batch = batch.filter(pc.is_in(batch[name], values))
                    if len(batch):
                        yield batch.select(wanted)
            except FileNotFoundError as error:
                raise InputError(f"{path}: no such table") from error
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path}: torn or not a Parquet file: {in_one_line(error)}") from error

    def read(
        self,
        columns: Sequence[str] | None = None,
        rules: Collection[int] | None = None,
        examples: Collection[int] | None = None,
    ) -> pd.DataFrame:
        """The same rows as one frame, in the types of `schema.to_frame`. Raises InputError as `batches` and that do."""
        names = self.columns.names if columns is None else list(columns)
        empty = pa.schema([self.columns.field(name) for name in names]).empty_table()
        batches = [pa.Table.from_batches([batch]) for batch in self.batches(columns, rules, examples)]
        table = pa.concat_tables([empty, *batches], promote_options="permissive")
        return schema.to_frame(self.columns, table.select(names), self.files[0])


def _row_groups(file: pq.ParquetFile, examples: Collection[int]) -> list[int]:
    """The row groups that may hold one of these examples, by the least and the greatest that each of them has."""
    column = file.schema_arrow.get_field_index("example")
    found = []
    for group in range(file.num_row_groups):
        known = file.metadata.row_group(group).column(column).statistics
        if known is None or any(known.min <= example <= known.max for example in examples):
            found.append(group)
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
