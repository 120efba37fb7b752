"""Offline W&B files (`run-ID.wandb`) read back without W&B's own reader, whose import path moves between releases.

The file is a LevelDB log: a header of 7 bytes, then blocks of 32 KiB in which each part of a record stands behind its
checksum (4 bytes), length (2) and kind (1: a whole record, 2: its first part, 3: a middle part, 4: its last part).
A record is a protobuf message, a format that was stable from W&B 0.19 to 0.31.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from calm_bench.errors import InputError

BLOCK, HEADER = 32768, 7
WHOLE, LAST = 1, 4


@dataclass(frozen=True)
class OfflineRun:
    """What a run logged: its config, the last value of each key, and where the files of its artifact stood.

    `exit_code` is None for a run that was killed. `folder` holds `files/`, with the tables.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    values: dict[str, Any]
    artifact: dict[str, Path]
    exit_code: int | None


def read(path: Path) -> OfflineRun:
    """The run in a `.wandb` file. A torn end is left out.

    Raises InputError for what is no such file, and for one with a value that is no JSON.
    """
    config: dict[str, Any] = {}
    values: dict[str, Any] = {}
    artifact: dict[str, Path] = {}
    name, exit_code = path.stem.removeprefix("run-"), None
    for record in records_of(path):
        match record.WhichOneof("record_type"):
            case "run":
                name = record.run.display_name or name
                _update(config, record.run.config.update)
            case "config":
                _update(config, record.config.update)
            case "history":
                _update(values, record.history.item)
            case "summary":
                _update(values, record.summary.update)
            case "exit":
                exit_code = record.exit.exit_code
            case "artifact":
                artifact |= _files(record.artifact)
            case "request":
                artifact |= _files(record.request.log_artifact.artifact)
    return OfflineRun(path.parent, name, config, values, artifact, exit_code)


def records_of(path: Path) -> Iterator[Any]:
    """The protobuf records of a `.wandb` file, up to a torn end."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")  # neither of the two has type hints
    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a file that W&B wrote offline") from error
    if data[:4] != b":W&B":
        raise InputError(f"{path}: not a W&B file; give a run-ID.wandb of a folder offline-run-...")
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        if (room := BLOCK - at % BLOCK) < HEADER:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        at += HEADER
        if at + length > len(data):
            return
        parts += data[at : at + length]
        at += length
        if kind in (WHOLE, LAST):
            try:
                record = messages.Record.FromString(parts)
            except decode_error:
                return
            yield record
            parts = b""


def _update(values: dict[str, Any], items: Iterable[Any]) -> None:
    """Set what was logged under each key, with the parts of a table, image or histogram below it.

    Raises InputError for a value that is no JSON, and for one that stands where others have their place below it.
    """
    for item in items:
        *parents, key = list(item.nested_key) or [item.key]
        place = values
        try:
            for parent in parents:
                place = place.setdefault(parent, {})
            place[key] = json.loads(item.value_json)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise InputError(f"the value of {'.'.join([*parents, key])!r} is none that W&B writes") from error


def _files(artifact: Any) -> dict[str, Path]:
    if artifact.type != "exit-stats":
        return {}
    return {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
