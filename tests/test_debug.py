"""`+debug=quick`: every stage in seconds, after any experiment."""

from pathlib import Path

import pytest

from calm_bench.compose import config_dir
from calm_bench.records.store import find
from tests import cli
from tests.composed import composed

EXPERIMENTS = sorted(file.stem for file in (config_dir() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_wins_over_every_experiment(experiment: str) -> None:
    config = composed(f"+experiment={experiment}", "+debug=quick")
    assert (config.name, config.limit, config.tracking.mode) == (experiment, 8, "disabled")
    assert (config.threshold.grid, config.timing.examples, config.figures) == ([0.9, 0.5], 1, False)


def test_it_goes_through_every_stage(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = cli.run("+debug=quick", f"model.path={tiny_checkpoint}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = find(tmp_path / "runs")
    assert {"generations", "reliability", "certificates", "timings", "frontier"} <= set(run.tables)
    assert run.status == "finished"
