"""What a stage's result depends on, as plain values: the keys of the stage cache."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from calm_bench.tasks.task import Task


def of_model(name_or_path: str) -> str:
    """A hash of a local checkpoint's weights, or a hub name as it is."""
    folder = Path(name_or_path)
    return _hash_of(sorted(folder.glob("*.safetensors"))) if folder.is_dir() else name_or_path


def of_task(task: Task) -> dict[str, Any]:
    """The data a task reads, and how it makes prompts of them. Lengths are part of it, metrics are not."""
    folder = Path(task.path) if task.path else None
    known = {field.name for field in fields(Task)}
    data = _hash_of(sorted(folder.glob("*.parquet")) + sorted(folder.glob("*.jsonl"))) if folder else None
    return {
        "class": type(task).__qualname__,
        "data": data or [task.hub, task.hub_config],
        "split": task.split,
        "prompt": task.prompt,
        "max_source_tokens": task.max_source_tokens,
        "max_new_tokens": task.max_new_tokens,
        "options": {field.name: str(getattr(task, field.name)) for field in fields(task) if field.name not in known},
    }


def _hash_of(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
