"""The full model's score beside a trivial baseline, and what is said where it is no better."""

from pathlib import Path
from typing import Any

import pytest

from analysis import load
from analysis.tables import scores, scores_shown
from analysis.tables.scores import not_better
from calm_bench.errors import InputError
from calm_bench.records.store import Run
from tests.analysis.conftest import WriteRun

BASELINE: dict[str, Any] = {
    "name": "a copy of the source", "score": 5.0, "low": 4.0, "high": 6.0, "ahead": 30.0, "ahead_low": 28.0,
    "ahead_high": 32.0, "beaten": True,
}  # fmt: skip


def with_baseline(folder: Path, **changes: Any) -> None:
    run = Run.open(folder)
    run.finish(run.info["promises"], **{**run.info["summary"], "trivial": {**BASELINE, **changes}})


def test_each_run_has_its_score_beside_its_baseline_s(write_run: WriteRun, tmp_path: Path) -> None:
    with_baseline(write_run(run_id="one"))
    with_baseline(write_run(run_id="two", name="other"), ahead=-1.0, ahead_low=-2.0, ahead_high=0.1, beaten=False)
    records = load(tmp_path / "runs", quiet=True)
    table = scores(records.runs, records.frontier)
    full = records.frontier[records.frontier["measure"] == "full"].set_index("run_id")
    assert table["score"].tolist() == full.loc[table["run_id"], "score"].tolist()
    assert table["ahead"].tolist() == [30.0, -1.0]
    shown = scores_shown(table)
    assert shown["beats it"].tolist() == ["yes", "no"]
    assert shown["trivial baseline"].tolist() == ["a copy of the source: 5.0 (4.0 to 6.0)"] * 2
    assert not_better(records.runs).endswith(": other-tatoeba_enfr.")


def test_records_that_say_none(write_run: WriteRun, tmp_path: Path) -> None:
    write_run()
    records = load(tmp_path / "runs", quiet=True)
    assert not_better(records.runs) == ""
    with pytest.raises(InputError, match="no run has a trivial baseline"):
        scores(records.runs, records.frontier)
