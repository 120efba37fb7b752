"""One record, read from its folder, from W&B's offline file and through W&B's API: the same frames."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import Records, draw, load
from analysis.listing import listing
from analysis.load import TABLES
from analysis.offline import read
from calm_bench.errors import InputError
from calm_bench.records.logged import LONG
from calm_bench.records.store import Run
from tests import cli
from tests.wandb_stub import ENTITY, PROJECT, Stub, serving

WHOLE = TABLES
SHOWN = tuple(name for name in TABLES if name not in LONG)

MIRROR = """
import sys
from calm_bench.records.store import Run
from calm_bench.records.mirror import mirror
mirror(Run.open(sys.argv[1]), mode=sys.argv[2])
"""
READ = """
import pickle, sys
from analysis import load
from analysis.load import TABLES
with open(sys.argv[2], "wb") as file:
    records = load(wandb=sys.argv[1])
    pickle.dump({name: getattr(records, name) for name in ("runs", "notes", "probes", *TABLES)}, file)
"""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


def python(code: str, *words: str | Path, stub: Stub | None = None) -> None:
    """Run `code` in a process of its own: W&B reads its variables once in each."""
    environment = {name: value for name, value in cli.environment().items() if not name.startswith("WANDB_")}
    environment |= stub.environment() if stub else {}
    process = cli.python("-c", code, *map(str, words), cwd=Path.cwd(), env=environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def by_api(stub: Stub, folder: Path) -> Records:
    python(READ, f"{ENTITY}/{PROJECT}", folder / "records.pickle", stub=stub)
    return Records(**pd.read_pickle(folder / "records.pickle"), stored={})


def equal(records: Records, expected: Records, tables: tuple[str, ...]) -> None:
    pd.testing.assert_frame_equal(records.runs.drop(columns="folder"), expected.runs.drop(columns="folder"))
    for name in tables:
        found, wanted = getattr(records, name), getattr(expected, name)
        if name == "timings" and records.examples.empty:  # W&B shows the number alone
            wanted = wanted.assign(example_id=found["example_id"])
        pd.testing.assert_frame_equal(found, wanted, check_dtype=not records.examples.empty)
    assert set(records.probes) == set(expected.probes) != set()
    for name, answer in records.probes.items():
        pd.testing.assert_frame_equal(answer, expected.probe(name), check_dtype=not records.examples.empty)


def test_an_offline_file_gives_the_frames_of_the_folder(write_run, only, tmp_path: Path) -> None:
    run = write_run(n=6, config={"name": "demo"})
    expected = load(run)
    python(MIRROR, run, "offline")
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    assert read(file).exit_code == 0
    for place in (file, file.parent, run / "wandb"):
        equal(load(place), expected, WHOLE)
        assert listing([place]) == listing([run])

    moved = file.parent.rename(tmp_path / "moved")
    (run / "run.json").rename(tmp_path / "run.json")  # the artifact's manifest still names it
    partial = load(moved, quiet=True)
    equal(partial, expected, SHOWN)
    assert partial.tokens(partial.rules).empty
    assert partial.generations(partial.rules).empty
    assert "no texts, no tokens" in partial.notes[0]
    only("frontier", "coloured-text")
    made, missing = draw(partial, tmp_path / "figures")
    assert {"frontier"} <= {entry.name.split("-")[0] for entry in made}
    assert missing


def test_the_end_of_a_torn_file_is_left_out(write_run) -> None:
    run = write_run(n=2)
    python(MIRROR, run, "offline")
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    data = file.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 4000, 100, 7):
        file.write_bytes(data[:length])
        assert read(file).exit_code is None
    file.write_bytes(b"something else")
    with pytest.raises(InputError, match="not a W&B file"):
        load(file)


@pytest.mark.parametrize(
    ("nested", "value"), [(["name"], "no JSON"), (["seed", "deeper"], "1"), (["name"], "[" * 20_000)]
)
def test_a_value_that_wandb_does_not_write_hides_no_other_run(
    write_run, tmp_path: Path, nested: list[str], value: str
) -> None:
    from wandb.proto import wandb_internal_pb2 as messages

    record = messages.Record()
    for key, text in ((["seed"], "1"), (nested, value)):
        item = record.config.update.add()
        item.nested_key.extend(key)
        item.value_json = text
    written = record.SerializeToString()
    file = tmp_path / "run-spoilt.wandb"
    file.write_bytes(b":W&B" + bytes(3) + struct.pack("<IHB", 0, len(written), 1) + written)
    records = load([file, write_run(n=2)], quiet=True)
    assert len(records.runs) == 1
    assert any("is none that W&B writes" in note for note in records.notes)


@pytest.mark.slow
def test_the_api_gives_the_frames_of_the_folder(write_run, stub: Stub, tmp_path: Path) -> None:
    run = write_run(n=6, config={"name": "demo"})
    expected = load(run)
    python(MIRROR, run, "online", stub=stub)
    equal(by_api(stub, tmp_path), expected, WHOLE)
    assert stub.unknown == []
    assert stub.others == []  # no telemetry

    promised = Run.open(run)
    promised.add_promises(promised.read("certificates")[:1].assign(method="naive"), ["A later promise."])
    python(MIRROR, run, "online", stub=stub)
    stub.runs["again"] = replace(next(iter(stub.runs.values())), name="again", summary={}, exit_code=1)  # newer, failed
    again = by_api(stub, tmp_path)
    assert again.runs["promises"].item()[-1] == "A later promise."  # the artifact's second version
    assert [note for note in again.notes if note.startswith("left out again: ")]
    expected = load(run)

    stub.artifacts.clear()  # deleted by somebody, as they are large
    partial = by_api(stub, tmp_path)
    equal(partial, expected, SHOWN)
    assert partial.exits.empty


@pytest.mark.slow
def test_a_project_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with serving() as stub:
        stub.on_Runs = None  # type: ignore[method-assign]
        words = ["-m", "analysis", "--wandb", "nobody/nothing", "--out", str(tmp_path)]
        process = cli.python(*words, cwd=tmp_path, env={**cli.environment(), **stub.environment()})
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("error: --wandb nobody/nothing: ")
    assert "Traceback" not in err
