"""Names and paths that an offline file or W&B's API gives: nothing is written, read or deleted outside."""

import json
import struct
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.places import run_folders

SECRET = {"columns": ["rule"], "data": [[1]]}
OUTSIDE = ["../../../outside/secret.json", "/outside/secret.json", "x/../../../../outside/secret.json"]


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """A folder with something precious beside the folder that is worked in."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.json").write_text(json.dumps(SECRET))
    (tmp_path / "scratch").mkdir()
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def offline_file(folder: Path, name: str, config: dict[str, Any], values: dict[str, Any]) -> Path:
    """What W&B would have written of a run, in as few records as there can be."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")
    start, history = messages.Record(), messages.Record()
    start.run.display_name = name
    for key, value in config.items():
        start.run.config.update.add(key=key, value_json=json.dumps(value))
    for key, value in values.items():
        history.history.item.add(key=key, value_json=json.dumps(value))
    parts = [record.SerializeToString() for record in (start, history)]
    folder.mkdir(parents=True)
    file = folder / "run-x.wandb"
    file.write_bytes(b":W&B\0\0\0" + b"".join(struct.pack("<IHB", 0, len(part), 1) + part for part in parts))
    return file


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("name", ["../../outside/run", "/outside", "..", "a/b", ""])
def test_an_offline_file(name: str, path: str, around: Path) -> None:
    path = path.replace("/outside", f"{around}/outside") if path.startswith("/") else path
    name = name.replace("/outside", f"{around}/outside") if name.startswith("/") else name
    file = offline_file(
        around / "offline-run-x",
        name,
        {"run_id": "../../outside/run"},
        {"rules": {"_type": "table-file", "path": path}},
    )
    before = everything(around)
    folders, notes = run_folders([file], None, around / "scratch")
    assert [folder.is_relative_to(around / "scratch") for folder in folders] == [True]
    assert {name for name in everything(around) if not name.startswith("scratch/")} == set(before)
    assert "leads out of" in notes[0]


@pytest.mark.parametrize("path", OUTSIDE)
def test_the_api(path: str, around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> None:
        pytest.fail("asked for what lies outside")

    artifact = SimpleNamespace(
        type="exit-stats", version="v0", manifest=SimpleNamespace(entries={path: None}), download=fetched
    )
    run = SimpleNamespace(
        id="../../outside",
        state="finished",
        config={"run_id": "../outside"},
        summary_metrics={"rules": {"_type": "table-file", "path": path}},
        logged_artifacts=lambda: [artifact],
        file=fetched,
    )
    api = SimpleNamespace(runs=lambda *_, **__: [run])
    monkeypatch.setattr("wandb.Api", lambda: api)
    before = everything(around)
    folders, notes = run_folders([], "entity/project", around / "scratch")
    assert [folder.parent for folder in folders] == [around / "scratch"]
    assert {name for name in everything(around) if not name.startswith("scratch/")} == set(before)
    assert "leads out of" in notes[0]


def test_an_offline_file_that_names_another_run_s_record(write_run, around: Path) -> None:
    """Its manifest says where the record stood; the folder there is read only if it is this run's."""
    other = write_run(n=2)
    file = offline_file(around / "offline-run-x", "mine", {"run_id": "mine"}, {})
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")
    record = messages.Record()
    record.artifact.type = "exit-stats"
    record.artifact.manifest.contents.add(path="run.json", local_path=str(other / "run.json"))
    part = record.SerializeToString()
    file.write_bytes(file.read_bytes() + struct.pack("<IHB", 0, len(part), 1) + part)
    folders, _ = run_folders([file], None, around / "scratch")
    assert folders != [other]
