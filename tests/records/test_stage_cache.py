"""The cache of expensive stages."""

import json
import time
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


def test_chunks_come_back_in_order_whatever_order_they_were_written_in(tmp_path: Path) -> None:
    chunks = Chunks(tmp_path)
    assert chunks.read_all() == {}
    for i in (1, 0, 2):
        assert not chunks.done(i)
        texts = pd.DataFrame({"id": [f"{i}a", f"{i}b"], "layers": [[i], [i, i]], "threshold": [0.5, None]})
        chunks.write(i, {"texts": texts, "tokens": pd.DataFrame({"position": [i]})})
        assert chunks.done(i)
    frames = Chunks(tmp_path).read_all()
    assert frames["texts"]["id"].tolist() == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert [list(layers) for layers in frames["texts"]["layers"]] == [[0], [0, 0], [1], [1, 1], [2], [2, 2]]
    assert frames["texts"]["threshold"].isna().tolist() == [False, True] * 3
    assert frames["tokens"]["position"].tolist() == [0, 1, 2]


def test_a_half_written_chunk_counts_for_nothing(tmp_path: Path) -> None:
    left = tmp_path / ".00000.tmp"
    left.mkdir()
    (left / "tokens.parquet").write_bytes(b"half")
    chunks = Chunks(tmp_path)
    assert not chunks.done(0)
    assert chunks.read_all() == {}
    chunks.write(0, {"tokens": pd.DataFrame({"position": [7]})})
    assert chunks.read_all()["tokens"]["position"].tolist() == [7]
    assert not left.exists()


def test_a_missing_or_torn_chunk_is_named(tmp_path: Path) -> None:
    chunks = Chunks(tmp_path)
    for i in (0, 2):
        chunks.write(i, {"tokens": pd.DataFrame({"position": [i]})})
    with pytest.raises(InputError, match="a chunk is missing; delete this folder"):
        chunks.read_all()
    chunks.write(1, {"tokens": pd.DataFrame({"position": [1]})})
    torn = tmp_path / "00001" / "tokens.parquet"
    torn.write_bytes(torn.read_bytes()[:-9])
    with pytest.raises(InputError, match="00001/tokens.parquet: torn .* delete .*00001 to compute it again"):
        chunks.read_all()


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
