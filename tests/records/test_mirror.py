"""What W&B is given, read back from its own offline file, and what happens when W&B fails."""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import HistoryItem, Record, SummaryItem

from analysis.offline import records_of
from calm_bench.records.mirror import mirror, resolve_mode
from calm_bench.records.mirrored import Mirrored
from calm_bench.records.rules import named
from calm_bench.records.schema import SCHEMAS
from calm_bench.records.store import Run
from tests import cli

Frames = dict[str, pd.DataFrame]


@pytest.fixture(autouse=True)
def _no_shared_service() -> Iterator[None]:
    """W&B leaves the address of its service to child processes; those of other tests must not find it."""
    yield
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def finished(run: Run, frames: Frames) -> Run:
    for name, frame in frames.items():
        run.write(name, frame)
    run.finish(["With probability 0.95 ..."], score=41.5, speedup=None)
    return run


@pytest.fixture
def figure(finished: Run) -> Path:
    from PIL import Image

    path = finished.path / "figures" / "frontier.png"
    path.parent.mkdir()
    Image.new("RGB", (4, 4)).save(path)
    return path


def _written(path: Path, seconds: float = 30) -> list[Record]:
    """The records of a run, once W&B's own process has written its last one: it may still be at it when we are not."""
    deadline = time.monotonic() + seconds
    while True:
        records = list(records_of(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records) or time.monotonic() > deadline:
            return records
        time.sleep(0.1)


def _values(items: Iterable[HistoryItem | SummaryItem]) -> dict[str, Any]:
    """What was logged under each key, with the parts of an image, table or histogram below it."""
    values: dict[str, Any] = {}
    for item in items:
        *parents, key = list(item.nested_key) or [item.key]
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = json.loads(item.value_json)
    return values


def _ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [entry for entry in caplog.records if entry.name.startswith("calm_bench")]


def test_a_finished_run_is_mirrored_offline(
    finished: Run, figure: Path, frames: Frames, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = os.environ.get("WANDB_DATA_DIR")
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        mirror(finished, mode="offline", project="a-project", group="a-group", tags=["demo"])
    assert os.environ.get("WANDB_DATA_DIR") == before
    assert "".join(capfd.readouterr()) == ""
    (folder,) = (finished.path / "wandb").glob("offline-run-*")
    assert [entry.getMessage() for entry in _ours(caplog)] == [
        f"W&B: offline; upload it with `wandb login` (once) and `wandb sync {folder}`"
    ]

    records = _written(next(folder.glob("run-*.wandb")))
    (start,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (start.project, start.run_group, start.display_name, list(start.tags)) == (
        "a-project",
        "a-group",
        "first",
        ["demo"],
    )
    assert start.job_type == "evaluate"
    assert start.notes == "risk 0.02: 8.00 layers (full); textual 0.1: 4.00 layers (softmax@0.9)"
    assert start.host == ""
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert config["task"] == {"name": "demo"}
    assert config["environment"] == finished.info["environment"]

    history = _values(item for record in records for item in record.history.item)
    summary = _values(item for record in records for item in record.summary.update)
    assert summary["score"] == 41.5
    assert summary["certified/softmax/textual_10pct/layers"] == 4.0
    assert summary["status"] == "finished"
    assert summary["promises"] == ["With probability 0.95 ..."]
    assert {"exit_layers/softmax@0.9", "exit_layers/oracle", "figures/frontier"} <= set(history)
    assert sum(history["exit_layers/softmax@0.9"]["values"]) == 6
    for name in ("frontier", "certificates", "exit_layers", "positions"):
        table = json.loads((folder / "files" / history[name]["path"]).read_text())
        if name in frames:
            readable = named(finished.read(name), finished.read("rules"))
            assert table["columns"] == list(readable.columns)
            thresholds = [row[table["columns"].index("threshold")] for row in table["data"]]
            assert thresholds == [None if np.isnan(t) else t for t in readable["threshold"]]

    (artifact,) = [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in records
        if "exit-stats" in (record.artifact.type, record.request.log_artifact.artifact.type)
    ]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    expected = {path.name: path.resolve() for path in finished.path.iterdir() if path.suffix in (".json", ".parquet")}
    assert files == expected
    assert len(files) == len(SCHEMAS) + 1
    for entry in artifact.manifest.contents:
        assert entry.size == files[entry.path].stat().st_size


@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("interrupted", 255)])
def test_a_run_that_did_not_finish_is_mirrored_with_its_state(
    run: Run, frames: Frames, status: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    monkeypatch.setenv("WANDB_NAME", "my name")
    monkeypatch.setenv("WANDB_TAGS", "one,two")
    run.write("generations", frames["generations"])
    run.mark(status)
    mirror(run, mode="offline", group="ours", tags=["three"])
    records = _written(next(run.path.glob("wandb/offline-run-*/run-*.wandb")))
    (start,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (start.run_group, start.display_name, list(start.tags)) == (
        "theirs",
        "my name",
        ["demo", "one", "two", "three"],
    )
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [code]
    assert _values(item for record in records for item in record.summary.update)["status"] == status


def test_training_becomes_curves(finished: Run) -> None:
    training = finished.path.parent / "stages" / "train-1"
    training.mkdir(parents=True)
    lines = ["step,score,layer,loss,agreement", "2,10,1,3.5,0.5", "2,10,2,3.0,1", "4,12,1,3.25,0.5", "4,12,2,2.5,1"]
    (training / "validation_by_layer.csv").write_text("\n".join(lines))
    header = "stage,step,loss,learning_rate,validation_loss"
    lines = [header, "model,1,6,0.5,", "model,2,5,0.25,5.5", "model,4,,,4.5", "classifier,3,0.75,0.1,0.5"]
    (training / "training_loss.csv").write_text("\n".join(lines))
    finished.finish(model_identity="train-1")
    mirror(finished, mode="offline")
    records = _written(next(finished.path.glob("wandb/offline-run-*/run-*.wandb")))
    logged = [_values(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    rows = [{key: value for key, value in row.items() if not key.startswith("_")} for row in logged]

    def of(stage: str) -> list[dict[str, float]]:
        return [{k.removeprefix(f"{stage}/"): v for k, v in row.items()} for row in rows if f"{stage}/step" in row]

    assert of("training") == [
        {"step": 1, "loss": 6, "learning_rate": 0.5},
        {"step": 2, "loss": 5, "learning_rate": 0.25, "validation_loss": 5.5},
        {"step": 4, "validation_loss": 4.5},
        {
            "step": 2,
            "score": 10,
            "loss/layer_1": 3.5,
            "loss/layer_2": 3.0,
            "agreement/layer_1": 0.5,
            "agreement/layer_2": 1,
        },
        {
            "step": 4,
            "score": 12,
            "loss/layer_1": 3.25,
            "loss/layer_2": 2.5,
            "agreement/layer_1": 0.5,
            "agreement/layer_2": 1,
        },
    ]
    assert of("classifier_training") == [{"step": 3, "loss": 0.75, "learning_rate": 0.1, "validation_loss": 0.5}]


def test_w_and_b_failing_costs_one_line(
    finished: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("the server\nis on fire")

    monkeypatch.setattr(wandb, "init", broken)
    mirror(finished, mode="online")
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert caplog.records[0].getMessage() == (
        f"W&B: not mirrored (RuntimeError: the server is on fire); {finished.path} is complete"
    )


def test_a_figure_that_cannot_be_read_costs_one_line_and_is_tried_again(
    finished: Run, figure: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    figure.write_bytes(b"no picture")
    mirror(finished, mode="offline")
    assert [entry.levelname for entry in _ours(caplog)] == ["WARNING"]
    assert "".join(capfd.readouterr()) == ""
    figure.unlink()
    mirror(finished, mode="offline")
    assert [entry.levelname for entry in _ours(caplog)] == ["WARNING"]
    (file,) = finished.path.glob("wandb/offline-run-*/run-*.wandb")
    assert [record.exit.exit_code for record in _written(file) if record.WhichOneof("record_type") == "exit"] == [0]


def test_disabled_leaves_nothing(finished: Run) -> None:
    before = sorted(finished.path.rglob("*"))
    mirror(finished, mode="disabled")
    assert sorted(finished.path.rglob("*")) == before


@pytest.fixture
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path


def test_auto_is_offline_without_a_key(logged_out: Path) -> None:
    assert resolve_mode("auto") == "offline"


def test_auto_is_online_with_a_key_from_the_environment(logged_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize("file", ["netrc", ".netrc"])
@pytest.mark.parametrize(("host", "mode"), [("api.wandb.ai", "online"), ("example.org", "offline")])
def test_auto_is_online_with_a_key_in_netrc(logged_out: Path, file: str, host: str, mode: str) -> None:
    path = logged_out / file
    path.write_text(f"machine {host} login user password {'a' * 40}\n")
    path.chmod(0o600)
    assert resolve_mode("auto") == mode


def test_a_key_for_w_and_bs_own_host_is_none_for_another_server(
    logged_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logged_out / ".netrc").write_text(f"machine api.wandb.ai login user password {'a' * 40}\n")
    (logged_out / ".netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert resolve_mode("auto") == "offline"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_wandb_mode_decides_what_auto_means_and_nothing_else(
    logged_out: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert resolve_mode("auto") == mode
    assert resolve_mode("offline") == "offline"


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("WANDB_NAME", "mine", "display_name", "mine"),
        ("WANDB_NOTES", "mine", "notes", "mine"),
        ("WANDB_TAGS", "one,two", "tags", ["demo", "one", "two", "three"]),
        ("WANDB_RUN_GROUP", "mine", "run_group", "mine"),
        ("WANDB_JOB_TYPE", "mine", "job_type", "mine"),
        ("WANDB_RESUME", "must", "resumed", False),
        ("WANDB_DIR", "elsewhere", "display_name", "first"),
        ("WANDB_SILENT", "true", "display_name", "first"),
        ("WANDB_INIT_TIMEOUT", "1", "display_name", "first"),
        ("WANDB_INIT_TIMEOUT", "soon", "display_name", "first"),
        ("WANDB_TAGS", "t" * 65, "tags", ["demo", "t" * 64, "three"]),
        ("WANDB_MODE", "", "display_name", "first"),
        ("WANDB_RUN_GROUP", "", "run_group", "ours"),
        ("WANDB_DATA_DIR", "elsewhere", "display_name", "first"),
    ],
)
def test_w_and_bs_variables_are_respected_or_refused_in_words(
    run: Run, frames: Frames, variable: str, value: str, field: str, expected: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    value = str(tmp_path / value) if value == "elsewhere" else value
    monkeypatch.setenv(variable, value)
    run.mark("interrupted")
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        mirror(run, mode="offline", group="ours", tags=["three"])
    place = tmp_path / "elsewhere" if variable == "WANDB_DIR" else run.path
    (file,) = place.glob("wandb/offline-run-*/run-*.wandb")
    (start,) = [record.run for record in records_of(file) if record.WhichOneof("record_type") == "run"]
    found = getattr(start, field)
    assert (list(found) if field == "tags" else found) == expected
    assert os.environ[variable] == value
    said = [entry.getMessage() for entry in _ours(caplog)]
    if variable == "WANDB_RESUME":
        assert said.pop(0) == "W&B: WANDB_RESUME=must is left aside: every copy of a record is whole"
    if value == "soon":
        assert said.pop(0).startswith("W&B: WANDB_INIT_TIMEOUT=soon is left aside: it must be a number of seconds")
    if len(value) == 65:
        assert said.pop(0) == f"W&B: WANDB_TAGS: {value} is cut to 64 letters"
    assert len(said) == (0 if variable == "WANDB_SILENT" else 1)
    caplog.clear()
    monkeypatch.delenv(variable)
    mirror(run, mode="offline")
    assert _ours(caplog) == []  # W&B has it, wherever the copy is


@pytest.mark.parametrize("name", ["..", "../precious", "{tmp}/precious", "wandb", ".", "wandb/link"])
def test_a_note_that_names_a_precious_folder_deletes_nothing(run: Run, tmp_path: Path, name: str) -> None:
    """mirror.json is data: what it calls a copy is removed only if W&B made it, in the run's own folder."""
    precious = run.path.parent / "precious"
    for folder in (precious, tmp_path / "precious"):
        folder.mkdir(exist_ok=True)
        (folder / "thesis.tex").write_text("x")
    wandb = run.path / "wandb"
    wandb.mkdir()
    for link in ("link", "offline-run-1-abc", "staging-abc-1"):
        (wandb / link).symlink_to(precious)
    name = name.replace("{tmp}", str(tmp_path))
    (wandb / "mirror.json").write_text(json.dumps({"id": "abc", "folder": name, "staging": name, "state": "x"}))
    before = Mirrored.of(run)
    assert before.copy(run) is None
    later = before.copied_to(run, wandb / "offline-run-2-abc", wandb / "staging-abc-2")
    later.forget_others(run)
    before.forget_staging(run)
    assert (precious / "thesis.tex").exists()
    assert (tmp_path / "precious" / "thesis.tex").exists()
    assert (wandb / "mirror.json").exists()


def test_of_two_copies_that_began_in_one_second_one_is_left(run: Run) -> None:
    """W&B numbers the second one's folder; another run's id may look like that."""
    wandb = run.path / "wandb"
    for folder, identity in (("abc", "abc"), ("abc-1", "abc"), ("abc-2", "abc-2")):
        (wandb / f"offline-run-1-{folder}").mkdir(parents=True)
        (wandb / f"offline-run-1-{folder}" / f"run-{identity}.wandb").write_text("x")
    Mirrored("abc").copied_to(run, wandb / "offline-run-1-abc", wandb / "staging-abc-1").forget_others(run)
    assert {path.name for path in wandb.iterdir()} == {"offline-run-1-abc", "offline-run-1-abc-2"}


@pytest.mark.parametrize("identity", ["../precious", "/precious", "", "a:b", 5, None, ["a"]])
def test_an_id_that_is_none_is_another(run: Run, identity: object) -> None:
    (run.path / "wandb").mkdir()
    (run.path / "wandb" / "mirror.json").write_text(json.dumps({"id": identity}))
    assert re.fullmatch("[a-z0-9]{8}", Mirrored.of(run).id)


def test_a_mode_that_w_and_b_does_not_have_is_refused_in_words(
    finished: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    mirror(finished)
    assert "WANDB_MODE=ofline must be online, offline or disabled" in caplog.text
    assert not list(finished.path.glob("wandb/*"))


MIRROR = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
from calm_bench.records.store import Run
from calm_bench.records.mirror import mirror
mirror(Run.open(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up_within_seconds(finished: Run, logged_out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, says nothing
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        env = {**cli.environment(), "WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40}
        process = cli.python("-c", MIRROR, str(finished.path), cwd=finished.path, env=env)
        out, err = process.communicate(timeout=80)
        assert time.monotonic() - start < 30
    assert (process.returncode, err) == (0, "")
    (folder,) = (finished.path / "wandb").glob("offline-run-*")
    assert out.splitlines() == [
        f"WARNING W&B: not uploaded (no end after 10 s); later: `wandb sync {folder}`, or this command again"
    ]
