"""A hub that does not answer is asked once, and what was kept of it still serves."""

import os
from pathlib import Path

import pytest

from calm_bench import hub
from calm_bench.errors import InputError

NAMES = {"task": "abisee/cnn_dailymail", "model": "google/t5-v1_1-small"}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in hub.OFFLINE:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there


def test_what_was_not_kept_is_refused_by_its_option() -> None:
    with pytest.raises(InputError, match=r"^task: the Hugging Face hub does not answer, and nothing of abisee/cnn_d"):
        hub.require(NAMES)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(
        InputError, match=r"hub is switched off \(HF_HUB_OFFLINE\), and nothing of google/.* model.path"
    ):
        hub.require({"model": NAMES["model"]})


def test_what_was_kept_is_taken_without_asking_again(tmp_path: Path) -> None:
    for name in ("datasets--abisee--cnn_dailymail", "models--google--t5-v1_1-small"):
        (tmp_path / name).mkdir()
    hub.require(NAMES)
    assert [os.environ[name] for name in hub.OFFLINE] == ["1", "1"]


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    hub.require({})
    assert os.environ["HF_HUB_OFFLINE"] == "0"
