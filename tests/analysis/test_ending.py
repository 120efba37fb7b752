"""What several runs say together at the end of a multirun or a sweep."""

from pathlib import Path
from typing import Any

import pytest

from analysis.ending import ending
from calm_bench import multirun
from tests.analysis.conftest import WriteRun
from tests.analysis.test_answers import FEW, asking


def certifying(layers: float) -> Any:
    """Every promise is kept by a rule of so many layers."""

    def change(frames: dict[str, Any]) -> dict[str, Any]:
        return {**frames, "certificates": frames["certificates"].assign(mean_exit_layer=layers)}

    return change


@pytest.fixture
def runs(write_run: WriteRun) -> list[Path]:
    """Three that differ in the word limit=N of their commands."""
    return [
        write_run(run_id=f"r{n}", name=f"limit={n}", change=certifying(layers), config={"limit": n}, **FEW)
        for n, layers in ((1, 5.0), (2, 3.0), (3, 8.0))
    ]


def ranked(lines: list[str]) -> list[str]:
    start = next(place for place, line in enumerate(lines) if line.startswith("rank "))
    return [line.split()[-1] for line in lines[start + 1 : lines.index("", start)]]


def test_runs_are_ranked_by_layers_and_named_by_what_differs(runs: list[Path]) -> None:
    lines = ending(runs)
    assert ranked(lines) == ["+experiment=limit=2", "+experiment=limit=1", "+experiment=limit=3"]
    assert lines[1].startswith("ranking of 3 runs by layers at the certified promises (textual 0.1, textual 0.25, risk")
    worst = next(line for line in lines if line.endswith("limit=3"))
    assert worst.split()[:2] == ["3", "full"]


@pytest.mark.parametrize(("maximize", "first"), [(False, "limit=2"), (True, "limit=3")])
def test_a_sweep_ranks_by_its_metric(runs: list[Path], maximize: bool, first: str) -> None:
    lines = ending(runs, "certified/softmax/textual_10pct/layers", maximize=maximize)
    assert ranked(lines)[0].endswith(first)


def test_the_command_draws_these_runs_alone(runs: list[Path]) -> None:
    folder = runs[0].parent
    assert ending(runs)[-1] == f"drawn together: python -m analysis {folder} --out {folder}/figures"
    assert ending(runs[:2])[-1] == f"drawn together: python -m analysis {runs[0]} {runs[1]} --out {folder}/figures"


def test_runs_of_one_question_are_answered_and_not_ranked(write_run: WriteRun) -> None:
    lines = ending([write_run(run_id=name, config=asking("oracle", limit=n), **FEW) for n, name in enumerate("ab")])
    assert lines.count("What of oracle?") == 2
    assert not any(line.startswith("ranking") for line in lines)


def test_one_run_needs_no_ending(runs: list[Path]) -> None:
    assert ending(runs[:1]) == []
    assert ending([runs[0], runs[0]]) == []


def test_jobs_leave_their_records_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (10, 2, 1):
        multirun.leave(tmp_path / "folder", Path(f"runs/{number}"), number)
    assert multirun.left(tmp_path / "folder") == [Path("runs/1"), Path("runs/2"), Path("runs/10")]
    assert multirun.sweep_folder("runs") is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "x7ab")
    assert multirun.sweep_folder("runs") == Path("runs/multirun/sweep-x7ab")
    (tmp_path / "file").touch()
    multirun.leave(tmp_path / "file" / "below", Path("runs/1"), 1)  # it cannot, and does not mind
