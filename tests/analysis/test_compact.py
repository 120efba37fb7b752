"""A compact record has all numbers of the run, those of single texts in seven digits, and none of its texts."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from analysis.compact import command_without_folders, main
from analysis.index import draw
from calm_bench.records.store import Run
from tests.analysis.conftest import Drawing, WriteRun


@pytest.fixture
def both(write_run: WriteRun, tmp_path: Path) -> tuple[Run, Run]:
    folder = write_run(
        config={"task": {"name": "tatoeba_enfr", "path": "/home/me/tatoeba"}, "runs_dir": "/home/me/runs"}
    )
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "small")]) == 0
    return Run.open(folder), Run.open(tmp_path / "small" / folder.name)


def test_no_text_is_left_and_every_number_is(both: tuple[Run, Run]) -> None:
    whole, small = both
    texts = {"examples": ["source", "references"], "generations": ["prediction"]}
    assert [name for name in whole.tables if name not in small.tables] == ["tokens"]
    for name in small.tables:
        left_out = texts.get(name, [])
        seven_digits = ["score", "textual_loss", "risk_loss"] if name == "generations" else []
        frames = [run.read(name).drop(columns=left_out) for run in (whole, small)]
        pd.testing.assert_frame_equal(*(frame.drop(columns=seven_digits) for frame in frames))
        for column in seven_digits:
            pd.testing.assert_series_equal(frames[0][column].astype("float32").astype("float64"), frames[1][column])
        for column in left_out:
            assert not small.read(name)[column].map(len).any()
    words = set("".join(whole.read("examples")["source"]).split())
    content = b"".join(file.read_bytes() for file in small.path.glob("*.parquet"))
    assert not any(word.encode() in content for word in words if len(word) > 5)
    same = {"tables": 0, "partial": 0, "config": 0}
    assert small.info | same == whole.info | same
    assert "/home/me" not in (small.path / "run.json").read_text()
    assert small.info["config"]["task"] == {"name": "tatoeba_enfr", "path": "tatoeba"}


def test_it_is_drawn_as_any_record_but_for_its_texts(both: tuple[Run, Run], drawing: Drawing, tmp_path: Path) -> None:
    made, missing = draw(load(both[1].path, quiet=True), tmp_path / "figures")
    whole = json.loads((drawing.out / "index.json").read_text())["made"]
    assert {one["stem"] for one in whole} - {one.stem for one in made} == {"card", "coloured-text"}  # both show a text
    assert any("no tokens with their text" in line for line in missing)
    assert (tmp_path / "figures/efficiency.md").read_text() == (drawing.out / "efficiency.md").read_text()


def test_a_command_names_no_folder_but_the_last() -> None:
    words = "python -m calm_bench task.path=/home/me/data/squad 'training.path=a/b c' runs_dir=/mnt/runs limit=9 a=1/2"
    assert command_without_folders(words) == (
        "python -m calm_bench task.path=squad 'training.path=b c' runs_dir=runs limit=9 a=1/2"
    )


def test_nothing_to_make_smaller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "small")]) == 2
    assert "no finished run" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
