"""Tasks as conf/task describes them, on small folders written by the test."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import calm_bench.build
from calm_bench.tasks.task import Task
from tests.composed import composed

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "calm_bench" / "assets"

Rows = list[dict[str, Any]]
Folder = Callable[..., str]
Build = Callable[..., Task]

ROW: dict[str, dict[str, Any]] = {
    "cnndm": {"id": "a1", "article": "It rained. It poured.", "highlights": "Rain .\nMore rain ."},
    "wmt15_enfr": {"translation": {"en": "A house.", "fr": "Une maison."}},
    "tatoeba_enfr": {"translation": {"en": "A house.", "fr": "Une maison."}},
    "squad": {"id": "q1", "context": "Bob, 7, ran.", "question": "Who ran?", "answers": {"text": ["Bob", "Bob, 7"]}},
    "scitldr": {"id": "p1", "article": "We study x.", "highlights": "On x.", "references": ["On x.", "About x."]},
}
ROW["span_corruption"] = {"text": "It rained and poured until it stopped."}
ROW |= dict.fromkeys(("multi30k_enfr", "newstest2014_enfr"), ROW["wmt15_enfr"]) | {"dialogsum": ROW["scitldr"]}
"""One row of each task's own columns."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """folder(test=rows, train=rows, suffix=".parquet") writes the splits and gives the folder's path."""

    def write(suffix: str = ".parquet", **splits: Rows) -> str:
        path = tmp_path / "data"
        path.mkdir(exist_ok=True)
        for split, rows in splits.items():
            file = path / f"{split}{suffix}"
            if suffix == ".parquet":
                pq.write_table(pa.Table.from_pylist(rows), file)
            else:
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def build() -> Build:
    """build("squad", path=...) is the task of conf/task/squad.yaml with some of its lines changed."""

    def task(name: str, **changes: Any) -> Task:
        config = composed(f"task={name}", "training=none").task
        return calm_bench.build.build({**asdict(config), **changes}, Task)

    return task
