"""The cache of expensive stages."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from calm_bench.errors import InputError
from calm_bench.records.stage_cache import Chunks, StageCache
from tests import cli

KEY = {"model": "assets/demo", "measure": "softmax", "grid": [0.95, 0.9], "limit": None}

HOLD = """
import sys, time
from calm_bench.records.stage_cache import StageCache

with StageCache(sys.argv[1]).hold("decode", {}) as folder:
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "done").write_text("")
"""


def test_a_folder_depends_on_the_stage_and_the_values_of_its_key(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    folder = cache.folder("decode", KEY)
    assert folder.parent == tmp_path / "stages"
    assert folder.name.startswith("decode-")
    assert len(folder.name) == len("decode-") + 12
    assert folder == cache.folder("decode", dict(reversed(KEY.items())))
    others = [("train", KEY), ("decode", KEY | {"measure": "state"}), ("decode", KEY | {"limit": 5}), ("decode", {})]
    assert len({folder, *(cache.folder(stage, key) for stage, key in others)}) == 5


def test_a_name_stays_the_same_between_versions(tmp_path: Path) -> None:
    assert StageCache(tmp_path).folder("decode", {"b": [1, 2.5], "a": None}).name == "decode-e57f5d378654"


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_a_key_that_json_cannot_hold_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        StageCache(tmp_path).folder("decode", {"value": value})


def test_the_key_can_be_read(tmp_path: Path) -> None:
    with StageCache(tmp_path).hold("decode", KEY) as folder:
        assert folder == StageCache(tmp_path).folder("decode", KEY)
        assert json.loads((folder / "key.json").read_text()) == KEY


def frames(i: int) -> dict[str, pd.DataFrame]:
    texts = pd.DataFrame({"id": [f"{i}a", f"{i}b"], "layers": [[i], [i, i]], "threshold": [0.5, None]})
    return {"texts": texts, "tokens": pd.DataFrame({"position": [i]})}


def positions(chunks: Chunks) -> list[int]:
    return [value for part in chunks.each("tokens") for value in part["position"].to_pylist()]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A stage of three chunks."""
    folder = tmp_path / "decode-0"
    folder.mkdir()
    chunks = Chunks(folder, 3)
    for i in (1, 0, 2):
        assert not chunks.done(i)
        chunks.write(i, frames(i))
        assert chunks.done(i)
    return folder


def test_chunks_come_back_in_order_whatever_order_they_were_written_in(written: Path) -> None:
    texts = pd.concat(part.to_pandas() for part in Chunks(written, 3).each("texts"))
    assert texts["id"].tolist() == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert [list(layers) for layers in texts["layers"]] == [[0], [0, 0], [1], [1, 1], [2], [2, 2]]
    assert texts["threshold"].isna().tolist() == [False, True] * 3
    assert positions(Chunks(written, 3)) == [0, 1, 2]


def test_a_half_written_chunk_counts_for_nothing(tmp_path: Path) -> None:
    left = tmp_path / ".00000.tmp"
    left.mkdir()
    (left / "tokens.parquet").write_bytes(b"half")
    chunks = Chunks(tmp_path, 1)
    assert not chunks.done(0)
    with pytest.raises(InputError, match="00000: missing or not whole"):
        positions(chunks)
    chunks.write(0, frames(7))
    assert positions(chunks) == [7]
    assert not left.exists()


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def _swap(stage: Path) -> None:
    for source, target in (("00000", "x"), ("00001", "00000"), ("x", "00001")):
        (stage / source).rename(stage / target)


def _of_another_stage(stage: Path) -> None:
    other = stage.with_name("decode-1")
    other.mkdir()
    Chunks(other, 1).write(0, frames(9))
    shutil.rmtree(stage / "00001")
    (other / "00000").rename(stage / "00001")


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda stage: shutil.rmtree(stage / "00001"), ""),
    ("emptied", lambda stage: [file.unlink() for file in (stage / "00001").iterdir()], "chunk.json cannot be read"),
    ("without a table", lambda stage: (stage / "00001/tokens.parquet").unlink(), "tokens.parquet: it is missing"),
    ("torn", lambda stage: os.truncate(stage / "00001/tokens.parquet", 99), "tokens.parquet: it is not the file"),
    ("flipped", lambda stage: _flip(stage / "00001/tokens.parquet"), "tokens.parquet: it is not the file"),
    ("of other columns", lambda stage: shutil.copy(stage / "00001/texts.parquet", stage / "00001/tokens.parquet"), ""),
    ("with more", lambda stage: shutil.copy(stage / "key.json", stage / "00001/more"), "more does not belong to it"),
    ("swapped", _swap, "it is chunk 1 of decode-0"),
    ("of another stage", _of_another_stage, "it is chunk 0 of decode-1"),
    ("described by nonsense", lambda stage: (stage / "00001/chunk.json").write_text("[1]"), "cannot be read"),
    ("surplus", lambda stage: shutil.copytree(stage / "00001", stage / "00003"), "none of this stage's 3 chunks"),
    ("a file", lambda stage: (shutil.rmtree(stage / "00001"), (stage / "00001").write_text("")), "cannot be read"),
]


@pytest.mark.parametrize(("spoil", "reason"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_a_chunk_that_is_not_as_it_was_written_is_named_and_written_again(
    written: Path, spoil: Callable[[Path], object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    (written / "key.json").write_text("{}")
    spoil(written)
    chunks = Chunks(written, 3)
    for i in range(3):
        if not chunks.done(i):
            chunks.write(i, frames(i))
    assert positions(chunks) == [0, 1, 2]
    assert reason in caplog.text
    assert sorted(path.name for path in written.iterdir()) == ["00000", "00001", "00002", "key.json"]
    shutil.rmtree(written / "00002")
    with pytest.raises(InputError, match="00002: missing or not whole"):
        positions(Chunks(written, 3))


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_process_waits_until_the_first_has_done_or_died(tmp_path: Path, killed: bool) -> None:
    cache = StageCache(tmp_path)
    words = ["-c", HOLD, str(tmp_path), "60" if killed else "0.5"]
    first = cli.python(*words, cwd=tmp_path, env=cli.environment())
    assert first.stdout is not None
    assert first.stdout.readline()
    with cache.hold("decode", {"another": "stage"}):
        pass  # nobody else wants that one
    if killed:
        first.kill()
    start = time.monotonic()
    with cache.hold("decode", {}) as folder:
        assert (folder / "done").exists() is not killed
    assert time.monotonic() - start < 30
    first.communicate(timeout=30)
