"""What a stage's or a run's result depends on, as plain values: the keys of the stage cache, and of run ids.

Local files count by their content, so that a checkpoint trained anew is another one under its old name, and a folder
that has moved is the same one under its new name. What a hub name stands for is taken not to change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from calm_bench.config import NOT_RESULTS, Config
from calm_bench.records.schema import SCHEMA_VERSION
from calm_bench.tasks.files import SPLITS, local_files
from calm_bench.tasks.task import Task


def run_id(config: Config) -> str:
    """NAME-HASH: the same for the same configuration and files, wherever these lie and the record goes."""
    values = asdict(config)
    for option in NOT_RESULTS:
        group, _, name = option.rpartition(".")
        del (values[group] if group else values)[name]
    for part, of_files in (("model", of_model), ("task", of_data), ("training", of_data)):
        if values[part]["path"] is not None:
            values[part]["path"] = of_files(values[part]["path"])
    text = json.dumps([SCHEMA_VERSION, values], sort_keys=True)
    return f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def of_model(name_or_path: str) -> str:
    """A hash of a local checkpoint: weights, configuration and tokenizer; a hub name as it is."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return name_or_path
    return _hash_of(file for kind in ("*.safetensors", "*.json", "*.model") for file in sorted(folder.glob(kind)))


def of_data(path: str, splits: Iterable[str] = SPLITS) -> str:
    """A hash of the files of these splits in a task's local folder, as far as they are there."""
    if not Path(path).is_dir():
        return path  # refused when it is read
    files = local_files(path)
    return _hash_of(file for split in splits for file in files.get(split, ()))


def of_task(task: Task, *splits: str) -> dict[str, Any]:
    """These splits of a task's data, and how it makes prompts of them. Lengths are part of it, metrics are not."""
    known = {field.name for field in fields(Task)}
    return {
        "class": type(task).__qualname__,
        "data": of_data(task.path, splits) if task.path else [task.hub, task.hub_config],
        "splits": splits,
        "prompt": task.prompt,
        "max_source_tokens": task.max_source_tokens,
        "max_new_tokens": task.max_new_tokens,
        "options": {field.name: str(getattr(task, field.name)) for field in fields(task) if field.name not in known},
    }


def of_splits(task: Task, *splits: str) -> list[str]:
    """A word for each file of these splits, whatever it is called and wherever it lies; only what is there."""
    if task.path is None:
        return [f"{task.hub} {task.hub_config} {split}" for split in splits]
    files = local_files(task.path)
    return [_digest_of(file).hex() for split in splits for file in files.get(split, ())]


def of_files(config: Config) -> dict[str, str]:
    """SHA-256 of every local data file that a run may read, by the option that names its folder and its own name."""
    folders = {"task": config.task.path, "training": config.training.path}
    return {
        f"{group}.path/{file.name}": _digest_of(file).hex()
        for group, path in folders.items()
        if path is not None and Path(path).is_dir()
        for files in local_files(path).values()
        for file in files
    }


def _hash_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(_digest_of(file))
    return digest.hexdigest()[:16]


def _digest_of(file: Path) -> bytes:
    about = file.stat()
    return _digest(file.resolve(), about.st_ino, about.st_size, about.st_ctime_ns)


@lru_cache
def _digest(file: Path, _inode: int, _size: int, _changed: int) -> bytes:
    """Of a file's content; read once while the file stays as it is. (No program can set when a file was changed.)"""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
