"""`python -m analysis` as a user meets it."""

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests import cli
from tests.analysis.conftest import THRESHOLDS, Drawing


def test_it_writes_everything_and_says_where(drawing: Drawing) -> None:
    run, out = drawing.run, drawing.out
    assert drawing.said[-1] == f"report: {out / 'index.html'}"
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    files = {file for entry in index["made"] for file in entry["files"]}
    on_disk = {file.name for file in out.iterdir()}
    assert files | {"index.html", "index.md", "index.json"} == on_disk
    assert all((out / file).stat().st_size > 100 for file in files)
    stems = {entry["name"] for entry in index["made"]}
    assert {"frontier-demo-tatoeba_enfr", "efficiency", "certified", "threshold-decay"} <= stems
    assert f"python -m calm_bench +experiment=demo  # {run.name}" in (out / "efficiency.md").read_text(encoding="utf-8")
    entry = next(entry for entry in index["made"] if entry["name"] == "frontier-demo-tatoeba_enfr")
    assert entry["runs"] == [run.name]
    assert all(file in (out / "index.md").read_text(encoding="utf-8") for file in files)


def test_what_is_missing_is_said_and_not_drawn(write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(timed=False, drop=("certificates",))
    assert main([str(run), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "no rule of an adaptive measure has seconds" in said
    assert "no certificates" in said
    assert "no runs of +experiment=decay: python -m calm_bench +experiment=decay makes them" in said
    assert "no timing of the full model" in said
    made = {file.name for file in (tmp_path / "out").iterdir()}
    assert not [name for name in made if name.startswith(("frontier-seconds", "efficiency", "seconds-saved"))]
    assert "frontier-demo-tatoeba_enfr.png" in made


@pytest.mark.slow
def test_equal_records_give_equal_drawings(drawing: Drawing) -> None:
    again = drawing.out.with_name("again")  # beside the first, for pages hold relative paths
    assert main([str(drawing.run.parent), "--out", str(again)]) == 0
    for first in drawing.out.iterdir():
        assert first.read_bytes() == (again / first.name).read_bytes(), first.name


def test_failures_are_one_clear_line(write_run, tmp_path: Path) -> None:
    def failure(*arguments: str) -> str:
        done = cli.run(*arguments, cwd=tmp_path, module="analysis")
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "nowhere" in failure(str(tmp_path / "nowhere"))
    assert "no runs given" in failure()
    assert "unrecognized arguments: --oot" in failure("runs", "--oot", "figures")
    (tmp_path / "empty").mkdir()
    assert "no finished run" in failure(str(tmp_path / "empty"))
    (tmp_path / "file").write_text("")
    assert "--out" in failure(str(write_run(n=4)), "--out", str(tmp_path / "file"))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "python -m analysis runs/" in said
    assert "index.html" in said


def test_seeds_of_one_setup_are_one_figure_and_nothing_unchanged_is_drawn_again(
    write_run, only, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only("frontier", "methods")
    for seed in range(3):
        runs = write_run(run_id=f"seed{seed}", n=12, seed=seed, thresholds=THRESHOLDS[::6]).parent
    out = tmp_path / "figures"
    assert main([str(runs), "--out", str(out)]) == 0
    assert [file.name for file in out.glob("frontier-demo*.png")] == ["frontier-demo-tatoeba_enfr.png"]
    assert "95% t-interval" in (out / "frontier-demo-tatoeba_enfr.svg").read_text(encoding="utf-8")
    assert "seed 0 (one of 3)" in (out / "methods-demo-tatoeba_enfr.svg").read_text(encoding="utf-8")
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert main([str(runs), "--out", str(out)]) == 0
    after = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"index.json", "index.md"}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "python -m analysis ../runs/seed1 --out ../runs/seed1/figures" in page
    (runs / "seed1/figures").mkdir()
    (runs / "seed1/figures/index.html").touch()
    write_run(run_id="seed3", n=12, seed=3, thresholds=THRESHOLDS[::6])
    assert main([str(runs), "--out", str(out)]) == 0
    later = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert later["frontier-demo-tatoeba_enfr.png"] != before["frontier-demo-tatoeba_enfr.png"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert '<a href="../runs/seed1/figures/index.html">Its own page</a>' in page
    assert "Over 4 runs that differ in their seeds" in page


def test_ctrl_c_while_it_is_imported_is_a_line_and_to_a_notebook_an_exception(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
    notebook = "try:\n import analysis\nexcept KeyboardInterrupt:\n print('still here')"
    ends = {
        ("-m", "analysis", "runs"): (130, "", "calm-bench: interrupted while it started\n"),
        ("-c", notebook): (0, "still here\n", ""),
    }
    for words, end in ends.items():
        process = cli.cold(*words, cwd=tmp_path, env=cli.environment())
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == end
