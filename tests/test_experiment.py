"""What an experiment looks at before a model loads."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from calm_bench.stages.data import data
from tests.composed import composed


def test_a_metric_that_does_not_read_the_references_is_spoken_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every ROUGE of a text in Hindi is 0 by its tokeniser, and nothing else would say so."""
    pd.DataFrame({"article": ["a", "b"], "highlights": ["दिल्ली में बारिश", "rain"]}).to_json(
        tmp_path / "test.jsonl", orient="records", lines=True
    )
    with caplog.at_level(logging.WARNING):
        data(
            composed(
                "task=cnndm",
                f"task.path={tmp_path}",
                "calibration.trials=0",
                "calibration.textual=[]",
                "calibration.risk=[]",
            )
        )
    (said,) = caplog.messages
    assert "most letters are others in the references of 1 of 2 examples" in said
