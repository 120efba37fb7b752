"""Stored generations scored with another metric: the decoded texts are read, not decoded again."""

from pathlib import Path

import pandas as pd
import pytest

from calm_bench.records.store import Run
from tests import cli
from tests.metrics.test_bleurt import save_bert

pytestmark = pytest.mark.slow


def test_another_metric_decodes_nothing_and_another_promise_scores_nothing(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    command = [f"model.path={tiny_checkpoint}", "limit=20", "task.max_new_tokens=8", *cli.QUICK]

    def run(*options: str) -> Run:
        done = cli.run(*command, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return Run.open(tmp_path / done.stdout.splitlines()[-1].removeprefix("run: "))

    def kept(stage: str) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"runs/stages/{stage}-*/[0-9]*/*")}

    def decoded() -> dict[Path, int]:
        return kept("decode") | kept("reliability")

    first = run()
    before, scored = decoded(), kept("score")
    assert before
    assert scored
    promised = run("calibration.textual=[0.3]", "calibration.seed=3")
    assert (decoded(), kept("score")) == (before, scored)
    assert set(promised.read("certificates")["delta"]) == {0.3, 0.02, 0.05}
    pd.testing.assert_frame_equal(promised.read("generations"), first.read("generations"))
    bleurt = save_bert(tmp_path / "bleurt")
    second = run("metric@task.similarity=bleurt", f"task.similarity.path={bleurt}", "metric@task.quality=rouge1")
    third = run("task.similarity._target_=calm_bench.metrics.rouge.RougeLsum")
    assert decoded() == before

    records = [first, second, third]
    assert len({record.run_id for record in records}) == 3
    said = [(record.info["summary"]["quality"], record.info["summary"]["similarity"]) for record in records]
    assert said == [("BLEU", "chrF"), ("ROUGE-1", "BLEURT"), ("BLEU", "ROUGE-Lsum")]
    assert second.info["summary"]["metrics"][1].startswith("BLEURT bleurt (")
    rows = [record.read("generations") for record in records]
    losses = ["score", "textual_loss", "risk_loss"]
    for other in rows[1:]:
        pd.testing.assert_frame_equal(other.drop(columns=losses), rows[0].drop(columns=losses))
        assert not other["textual_loss"].equals(rows[0]["textual_loss"])
        assert (other.loc[other["rule"] == 0, "textual_loss"] == 0).all()


def test_bleurt_without_weights_is_refused_before_anything_is_decoded(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = cli.run(f"model.path={tiny_checkpoint}", "metric@task.similarity=bleurt", *cli.QUICK, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        "calm-bench: BLEURT: path=None must be a save_pretrained folder (task.similarity.path=DIR)"
    ]
    assert not list(tmp_path.glob("runs/*/*"))
