"""`python -m analysis RUNS --list`."""

from pathlib import Path

import pytest

from analysis.__main__ import main


def test_every_run_is_a_line_whatever_its_status(write_run, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(run_id="first", n=4, created="2026-01-01T10:00:00+00:00")
    folder = write_run(
        run_id="second", n=4, status="interrupted", created="2026-01-02T10:00:00+00:00", measures=("state",)
    ).parent
    assert main([str(folder), "--list"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "status", "created", "task", "model", "measures", "n", "certified", "layers"]
    assert first.split()[:2] == ["first", "finished"]
    assert "softmax,state,classifier" in first
    assert first.count("-") >= 3
    assert second.split()[:4] == ["second", "interrupted", "2026-01-02", "10:00"]


def test_a_folder_without_runs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--list"]) == 2
    assert capsys.readouterr().err.startswith("error: no run in ")


def test_what_cannot_be_read_hides_nothing(write_run, only, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only("efficiency")
    folder = write_run(run_id="whole", n=4).parent
    for name, text in (("torn", '{"schema_'), ("older", '{"schema_version": 1}')):
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(text)
    assert main([str(folder), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["whole", "finished"]
    assert [line.split("  unreadable: ")[0] for line in lines[2:]] == ["older", "torn"]
    assert "schema_version 1 is older" in lines[2]
    assert main([str(folder), "--out", str(tmp_path / "figures")]) == 0
    assert "left out torn: unreadable: " in capsys.readouterr().err


def test_a_w_and_b_project_is_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--list", "--wandb", "someone/project"]) == 2
    assert capsys.readouterr().err.startswith("error: --list reads what is on")
