"""A run's folder: what is written comes back, and what is broken is named."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from calm_bench.errors import InputError
from calm_bench.records.schema import SCHEMAS, column
from calm_bench.records.store import Run, find

Frames = dict[str, pd.DataFrame]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_table_comes_back_from_the_disk(run: Run, frames: Frames, name: str) -> None:
    run.write(name, frames[name])
    back = Run.open(run.path).read(name)
    pd.testing.assert_frame_equal(back[list(frames[name].columns)], frames[name], check_dtype=False, rtol=1e-6)
    assert {path.name for path in run.path.iterdir()} == {"run.json", f"{name}.parquet"}


def test_the_table_of_a_probe_from_outside_keeps_the_columns_that_it_declares(run: Run, frames: Frames) -> None:
    columns = pa.schema([column("layer", pa.int16()), column("doubt", pa.float64(), null=True)])
    answer = pd.DataFrame({"doubt": [0.5, np.nan], "layer": [1, 2]})
    run.write("rules", frames["rules"])
    run.write("doubts", answer, columns=columns)
    again = Run.open(run.path)
    assert (again.tables, again.probes) == (["rules", "doubts"], ["doubts"])
    assert again.table("doubts").columns == columns
    pd.testing.assert_frame_equal(again.read("doubts"), answer[["layer", "doubt"]], check_dtype=False)
    with pytest.raises(InputError, match="doubts: column 'layer' has 2 empty or NaN values"):
        run.write("doubts", answer.assign(layer=np.nan), columns=columns)


def test_a_run_tells_its_story(run: Run) -> None:
    assert Run.open(run.path).status == "running"
    run.finish(["With probability 0.95 ..."], score=np.float32(0.5), layers=np.array([1, 2]), seconds=float("nan"))
    info = Run.open(run.path).info
    assert info["status"] == "finished"
    assert info["finished_at"] >= info["created"]
    assert info["promises"] == ["With probability 0.95 ..."]
    assert info["summary"] == {"score": 0.5, "layers": [1, 2], "seconds": None}
    assert info["config"] == {"seed": 0, "task": {"name": "demo"}}
    assert 10 < info["peak_memory_mb"] < 1e6


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_did_not_finish_says_so(run: Run, status: str) -> None:
    run.mark(status)  # type: ignore[arg-type]
    assert Run.open(run.path).status == status


def test_a_table_can_be_replaced(run: Run, frames: Frames) -> None:
    run.write("frontier", frames["frontier"])
    run.write("frontier", frames["frontier"].iloc[:1])
    assert len(run.read("frontier")) == 1


def test_a_refused_table_leaves_the_old_one(run: Run, frames: Frames) -> None:
    run.write("frontier", frames["frontier"])
    with pytest.raises(InputError):
        run.write("frontier", frames["frontier"].assign(score=np.nan))
    assert len(run.read("frontier")) == 4


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path: Path, frames: Frames) -> None:
    run = Run.create(tmp_path / "seed=3", "rule=7", {}, name="demo", seed=3)
    run.write("frontier", frames["frontier"])
    assert set(run.read("frontier")["rule"]) == {0, 1, 2, 3}


def test_a_run_is_never_overwritten(run: Run) -> None:
    with pytest.raises(InputError, match="already holds a run"):
        Run.create(run.path.parent, run.run_id, {}, name="demo", seed=1)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_is_begun_again_in_its_place(run: Run, frames: Frames, status: str) -> None:
    run.write("tokens", frames["tokens"])
    if status != "running":
        run.mark(status)  # type: ignore[arg-type]
    again = Run.begin(run.path, {"seed": 1}, name="demo", seed=1)
    assert (again.status, again.info["seed"]) == ("running", 1)
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("end", ["discard", "mark", "kill", "finish"])
def test_a_finished_record_stays_until_the_one_in_its_place_is_finished(run: Run, frames: Frames, end: str) -> None:
    run.write("tokens", frames["tokens"])
    run.finish()
    again = Run.begin(run.path, {"seed": 1}, name="demo", seed=1)
    again.write("timings", frames["timings"])
    assert [record.info["seed"] for record in find(run.path.parent)] == [0]
    match end:
        case "discard":
            again.discard()
        case "mark":
            again.mark("interrupted")
        case "finish":
            again.finish()
    (left,) = find(run.path.parent)
    assert (left.path, left.run_id, left.status) == (run.path, run.run_id, "finished")
    assert left.info["seed"] == (1 if end == "finish" else 0)
    assert left.tables == ["timings" if end == "finish" else "tokens"]
    Run.begin(run.path, {"seed": 2}, name="demo", seed=2).finish()  # whatever an earlier attempt has left
    assert Run.open(run.path).info["seed"] == 2
    assert [path.name for path in run.path.parent.iterdir()] == [run.run_id]


@pytest.mark.parametrize("end", ["interrupted", "finished", "discarded"])
def test_what_is_kept_for_w_and_b_outlives_the_record(run: Run, end: str) -> None:
    copy = run.path / "wandb" / "offline-run-1"
    copy.mkdir(parents=True)
    (copy / "run-1.wandb").write_text("not uploaded yet")
    run.mark("interrupted") if end == "interrupted" else run.finish()
    if end == "finished":  # then it is made again, with force=true; two times, as the first is interrupted
        Run.begin(run.path, {}, name="demo", seed=1).mark("interrupted")
    again = Run.begin(run.path, {}, name="demo", seed=1)
    if end == "discarded":
        run.discard()
        again = Run.begin(run.path, {}, name="demo", seed=1)
    again.finish()
    assert again.path == run.path
    assert (copy / "run-1.wandb").read_text() == "not uploaded yet"


def test_a_discarded_run_leaves_nothing(run: Run) -> None:
    run.discard()
    assert list(run.path.parent.iterdir()) == []


def test_the_environment_names_neither_host_nor_folders(run: Run) -> None:
    environment = run.info["environment"]
    assert set(environment) == {"python", "platform", "cpu", "cores", "memory_gib", "gpu", "libraries", "git_commit"}
    assert {"torch", "transformers", "numpy"} <= set(environment["libraries"])
    assert environment["cores"] >= 1
    assert environment["memory_gib"] > 0
    text = json.dumps(environment)
    assert str(Path(__file__).parents[2]) not in text
    assert str(Path.home()) not in text
    assert f'"{socket.gethostname()}"' not in text


def test_find_lists_runs_and_nothing_else(run: Run) -> None:
    runs_dir = run.path.parent
    Run.create(runs_dir, "second", {}, name="demo", seed=0).mark("interrupted")
    (runs_dir / "stages").mkdir()
    assert [(found.run_id, found.status) for found in find(runs_dir)] == [
        ("first", "running"),
        ("second", "interrupted"),
    ]
    assert [found.run_id for found in find(run.path)] == ["first"]


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "it is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "it is not the file that was written"),
        (lambda path: path.write_bytes(b""), "it is not the file that was written"),
        (_flipped, "it is not the file that was written"),
        (lambda path: path.write_bytes((path.parent / "rules.parquet").read_bytes()), "it is not the file that was"),
    ],
)
def test_a_table_that_is_not_as_it_was_written_is_named(
    run: Run, frames: Frames, spoil: Callable[[Path], None], message: str
) -> None:
    for name in ("rules", "frontier"):
        run.write(name, frames[name])
    path = run.path / "frontier.parquet"
    spoil(path)
    with pytest.raises(InputError) as error:
        Run.open(run.path).read("frontier")
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)
    assert len(run.read("rules")) == 4


def test_a_table_that_was_not_written_is_named(run: Run) -> None:
    with pytest.raises(InputError, match=r"frontier.parquet: no such table; the run is running"):
        run.read("frontier")


def test_later_promises_come_with_their_rows_or_not_at_all(run: Run, frames: Frames) -> None:
    run.write("certificates", frames["certificates"])
    run.finish(["one"])
    later = frames["certificates"].assign(method="ucb")
    run.add_promises(later, ["two"])
    run.add_promises(later.assign(method="crc"), ["three"])
    back = Run.open(run.path)
    assert back.info["promises"] == ["one", "two", "three"]
    assert back.read("certificates")["method"].tolist() == ["ltt"] * 3 + ["ucb"] * 3 + ["crc"] * 3
    torn = {**back.info, "promises": ["one"]}  # killed before run.json was replaced: its rows count for nothing
    torn["tables"] = {**torn["tables"], "certificates": torn["tables"]["certificates"][:1]}
    (run.path / "run.json").write_text(json.dumps(torn))
    again = Run.open(run.path)
    assert set(again.read("certificates")["method"]) == {"ltt"}
    again.add_promises(later, ["two"])
    assert set(Run.open(run.path).read("certificates")["method"]) == {"ltt", "ucb"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema_version": 3, "run_', "torn or not JSON"),
        ('{"schema_version": 4}', "schema_version 4 is newer than 3"),
        ('{"schema_version": 2}', "schema_version 2 is older than 3"),
        ('{"schema_version": 3, "run_id": "first"}', "key 'name' is missing"),
        ("[]", "schema_version is None"),
        ("null", "schema_version is None"),
        ("[" * 100_000, "torn or not JSON"),
    ],
)
def test_a_broken_run_json_is_named(run: Run, text: str, message: str) -> None:
    (run.path / "run.json").write_text(text)
    for attempt in (lambda: Run.open(run.path), lambda: find(run.path.parent)):
        with pytest.raises(InputError) as error:
            attempt()
        assert str(error.value).startswith(f"{run.path / 'run.json'}: {message}")


@pytest.mark.parametrize("key", ["config", "environment", "summary", "promises", "tables", "status", "created"])
def test_a_value_of_another_shape_is_named(run: Run, key: str) -> None:
    (run.path / "run.json").write_text(json.dumps({**run.info, key: 7}))
    with pytest.raises(InputError, match=f"run.json: key '{key}' is '7', which does not belong there"):
        Run.open(run.path)


@pytest.mark.parametrize(
    "entry", [{"name": "../rules.parquet", "rows": 1, "sha256": ""}, {"name": "/x", "rows": 1, "sha256": ""}, {}, 7]
)
def test_tables_are_files_of_the_runs_own_folder(run: Run, entry: object) -> None:
    (run.path / "run.json").write_text(json.dumps({**run.info, "tables": {"rules": [entry]}}))
    with pytest.raises(InputError, match="tables.rules must list files of this folder"):
        Run.open(run.path)


def test_a_link_that_leads_to_itself_is_named(run: Run) -> None:
    (run.path / "run.json").unlink()
    (run.path / "run.json").symlink_to("run.json")
    with pytest.raises(InputError, match="run.json: cannot be read"):
        Run.open(run.path)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run \(no run.json\)"):
        Run.open(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find(tmp_path / "nowhere")
