"""What is certified neither trains nor chooses nor makes a grid, whatever the folders are called."""

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from calm_bench.build import build
from calm_bench.errors import InputError
from calm_bench.records.stage_cache import StageCache
from calm_bench.stages import identity
from calm_bench.stages.grids import _sample
from calm_bench.stages.leakage import certified_sources, refuse_trained_on, trained_on
from calm_bench.stages.training_data import training_data
from calm_bench.tasks.task import Task
from tests.composed import composed


def write(folder: Path, **splits: list[str]) -> str:
    folder.mkdir(exist_ok=True)
    for split, sentences in splits.items():
        pairs = pd.Series([{"en": text, "fr": f"{text} {split}"} for text in sentences])
        pd.DataFrame({"translation": pairs}).to_parquet(folder / f"{split}.parquet")
    return str(folder)


def texts(word: str, count: int) -> list[str]:
    return [f"{word} {number}" for number in range(count)]


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "runs")


def task(folder: str) -> Task:
    built: Task = build(composed(f"task.path={folder}").task, Task)
    return built


@pytest.mark.parametrize("moved", [False, True])
def test_the_same_data_under_another_name_are_refused(moved: bool, tmp_path: Path, cache: StageCache) -> None:
    certified = task(write(tmp_path / "one", test=texts("a", 30), train=texts("b", 5)))
    folder = tmp_path / "one"
    if moved:  # to another folder, as another split, among other rows, with other translations
        folder = tmp_path / "two"
        write(folder, train=[*texts("c", 90), *texts("a", 2)])
    other, split = dataclasses.replace(certified, path=str(folder)), "train" if moved else "test"
    count = 2 if moved else 30
    message = (
        f"training.split={split}: {count} of the 30 examples of task.split=test stand in it too, and what is certi"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        certified_sources(f"training.split={split}", other, split, certified, cache)


def test_a_sentence_that_chance_has_put_into_both_is_left_out(
    tmp_path: Path, cache: StageCache, caplog: pytest.LogCaptureFixture
) -> None:
    common = "Thank you."
    certified = task(write(tmp_path / "one", test=[*texts("a", 150), common]))
    other = task(write(tmp_path / "two", train=[common, *texts("b", 20)], validation=[*texts("c", 9), common]))
    with caplog.at_level(logging.WARNING):
        found = certified_sources("training.split=train", other, "train", certified, cache)
    assert found == {certified.prompt + common}
    assert "1 of the 151 certified examples" in caplog.text
    for split in ("train", "validation"):  # the latter has no other split that could choose checkpoints
        rows, validation = training_data(other, split, 10, found)
        assert {row["source"] for row in rows}.isdisjoint(found)
        assert found.isdisjoint(example.source for example in validation)
        assert len(rows) in (20, 8, 9)
    quantiles = composed("threshold=quantiles").threshold.quantiles
    assert quantiles is not None
    assert sorted(_sample(other, quantiles, certified, cache)) == sorted(other.prompt + text for text in texts("b", 20))


def test_it_is_compared_once_and_again_for_other_data(
    tmp_path: Path, cache: StageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified = task(write(tmp_path / "one", test=texts("a", 9)))
    other = task(write(tmp_path / "two", train=texts("b", 9)))
    assert not certified_sources("training", other, "train", certified, cache)
    copy = dataclasses.replace(other, path=str(shutil.copytree(tmp_path / "two", tmp_path / "copy")))
    with monkeypatch.context() as patched:
        patched.setattr(Task, "rows", lambda *_: pytest.fail("read again"))
        assert not certified_sources("training", copy, "train", certified, cache)
    write(tmp_path / "one", test=texts("b", 9))
    with pytest.raises(InputError, match="9 of the 9 examples"):
        certified_sources("training", other, "train", certified, cache)


def test_a_checkpoint_that_the_certified_split_has_trained_is_refused_later(tmp_path: Path) -> None:
    """Two commands: one trains on a file, another certifies it under another name."""
    trained = task(write(tmp_path / "one", train=texts("a", 9), test=texts("b", 9)))
    model = tmp_path / "model"
    model.mkdir()
    (model / "training.json").write_text(json.dumps({"trained_on": identity.of_splits(trained, "train", "validation")}))
    refuse_trained_on(str(model), trained)
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "train.parquet", tmp_path / "two" / "test.parquet")
    with pytest.raises(InputError, match=r"model.path=.*training.json says that task.split=test trained or chose it"):
        refuse_trained_on(str(model), dataclasses.replace(trained, path=str(tmp_path / "two")))
    for content in ("{}", "[]", '{"trained_on": 5}', "no JSON"):  # of another version, or of somebody else
        (model / "training.json").write_text(content)
        assert trained_on(str(model)) == []
    assert trained_on(None) == trained_on("google/t5-v1_1-small") == []
