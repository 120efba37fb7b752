"""The script that measures a paper-sized record, at toy size."""

from pathlib import Path

import pytest

from calm_bench.records.store import Run
from tests.records import paper_sized


@pytest.mark.slow
def test_every_step_runs_and_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper_sized.main(["--examples", "10", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"10 examples, {10 * 67 * 82:,} rows of tokens"
    assert [line.split()[0] for line in lines[1:]] == list(paper_sized.STEPS)
    run = Run.open(tmp_path / "cnndm-sized")
    assert len(run.read("tokens", ["rule"])) == 10 * 67 * 82
    assert set(run.read("certificates")["delta"]) == {0.1, 0.25, 0.02, 0.05, 0.15, 0.03}
    assert (tmp_path / "figures" / "index.html").exists()
    assert list(run.path.glob("wandb/offline-run-*"))
