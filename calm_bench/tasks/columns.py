"""The columns that a task reads, out of a parquet or JSON lines file, and the refusal of values that are no text.

Files are read as they stand on the disk: `datasets` would keep a copy by path and time of change, and go on reading it
where a file has other words of the same length and time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calm_bench.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def read_file(file: Path, columns: Sequence[str], extra: Sequence[str] = ("id",)) -> pa.Table:
    """The columns that `columns` names (as `Task.columns`), and those of `extra` that there are, checked and in memory.

    Raises InputError for a file that cannot be read, and as `check`; a file without rows has no columns.
    """
    wanted = {_parts(column)[0] for column in columns} | set(extra)
    try:
        table, names, rows = _parquet(file, wanted) if file.suffix == ".parquet" else _json_lines(file, wanted)
    except InputError:
        raise
    except Exception as error:  # pyarrow and the system each raise their own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"task.path: cannot read {file}: {reason}") from error
    if rows:
        check(table, columns, names, f"task.path: {file}")
    return table


def check(table: pa.Table, columns: Sequence[str], names: Sequence[str], where: str) -> None:
    """Raise InputError, naming row and field, unless each row has a text in all columns, and an id if others have one.

    names: of all columns that the data have, those too that are not in the table. where: what the message begins with.
    """
    for column in columns:
        if _parts(column)[0] not in names:
            raise InputError(f"{where} has no column {_parts(column)[0]} (columns: {', '.join(names)})")
        _check_text(table, column, where)
    if "id" in names:
        _refuse_null(table.column("id"), "id", where)


def _parquet(file: Path, wanted: set[str]) -> tuple[pa.Table, list[str], int]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    names = list(parquet.schema_arrow.names)
    table = parquet.read(columns=[name for name in names if name in wanted])
    table = table.replace_schema_metadata(None)  # what pandas or `datasets` noted of other columns
    return table, names, parquet.metadata.num_rows


def _json_lines(file: Path, wanted: set[str]) -> tuple[pa.Table, list[str], int]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"task.path: cannot read {file}: line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"task.path: cannot read {file}: line {number} is no object with fields")
            names |= dict.fromkeys(row)
            rows.append({name: row[name] for name in wanted & row.keys()})
    columns = {name: _array([row.get(name) for row in rows], name, file) for name in names if name in wanted}
    return pa.table(columns), list(names), len(rows)


def _array(values: list[Any], name: str, file: Path) -> pa.Array:
    import pyarrow as pa

    if name == "id":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"task.path: {file}: {name} is not of one kind in all rows: {error}") from error


def _check_text(table: pa.Table, column: str, where: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    name, *fields = _parts(column)
    values, path = table.column(name), name
    _refuse_null(values, path, where)
    for field in fields:
        path = f"{path}.{field}"
        if not pa.types.is_struct(values.type) or values.type.get_field_index(field) < 0:
            raise InputError(f"{where} has no field {path}: column {name} is {values.type}")
        values = pc.struct_field(values, field)
        _refuse_null(values, path, where)
    many = column.endswith("[]")
    content = values.type.value_type if _is_list(values.type) else values.type
    if _is_list(values.type) != many or not _is_text(content, empty=many):
        raise InputError(f"{where}: {path} is {values.type}, but must be {'a list of strings' if many else 'a string'}")
    if many and (missing := _first_null(pc.list_flatten(values))) is not None:
        row = pc.list_parent_indices(values.combine_chunks())[missing].as_py()
        raise InputError(f"{where}, row {row + 1}: {path} has an entry without a value")


def _refuse_null(values: pa.ChunkedArray, path: str, where: str) -> None:
    missing = _first_null(values)
    if missing is not None:
        raise InputError(f"{where}, row {missing + 1}: {path} has no value")


def _first_null(values: pa.ChunkedArray) -> int | None:
    """Number of the first value that is missing, from 0."""
    import pyarrow.compute as pc

    return int(pc.index(pc.is_null(values), True).as_py()) if values.null_count else None


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType, empty: bool) -> bool:
    """Whether values are strings; `empty`: or there are none, in lists that are all empty."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or (empty and pa.types.is_null(kind)))


def _parts(column: str) -> list[str]:
    return column.removesuffix("[]").split(".")
