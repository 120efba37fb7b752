"""What an experiment looks at before a model loads."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch

from calm_bench.decoding.decoder import Decoder
from calm_bench.errors import InputError
from calm_bench.experiment import texts
from calm_bench.following import Stages
from calm_bench.records.stage_cache import StageCache
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


def test_a_batch_that_a_gpu_cannot_hold_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.96 GiB.")

    monkeypatch.setattr(Decoder, "decode", full)
    config = composed("limit=10", "batch_size=256", f"runs_dir={tmp_path}", "figures=false", "tracking=disabled")
    task, examples = data(config)
    with pytest.raises(InputError, match=r"^batch_size=256: .* under \d+ rules .* cpu holds; .*: CUDA out of memory"):
        texts(config, StageCache(tmp_path), "cpu", task, examples, Stages())
