"""What trains and what chooses the checkpoint: apart from each other, and never what is certified."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from calm_bench.errors import InputError
from calm_bench.stages.training_data import grid_sources, measure_sources, require_splits, training_data
from calm_bench.tasks.task import Task
from calm_bench.tasks.tatoeba_enfr import TatoebaEnFr


def write(folder: Path, **splits: int) -> None:
    """Splits of this many sentences, each with two translations."""
    for split, count in splits.items():
        pairs = [{"en": f"{split} {i}", "fr": f"{split} {i}, {j}"} for i in range(count) for j in (1, 2)]
        pd.DataFrame({"translation": pairs}).to_parquet(folder / f"{split}.parquet")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    metric = SimpleNamespace()
    return TatoebaEnFr(
        name="tatoeba_enfr", path=str(tmp_path), hub=None, hub_config=None, split="test", prompt="",
        max_source_tokens=9, max_new_tokens=9, tau={}, quality=metric, similarity=metric, sample_seed=0,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_validation_split_chooses(task: Task, tmp_path: Path) -> None:
    write(tmp_path, train=20, validation=10, test=5)
    require_splits(task, "train")
    rows, validation = training_data(task, "train", 4)
    assert len(rows) == 40
    assert len(validation) == 4
    assert all(example.source.startswith("validation") for example in validation)


@pytest.mark.parametrize(("split", "certified"), [("validation", "test"), ("train", "validation")])
def test_where_it_trains_or_is_certified_a_part_of_the_training_split_chooses(
    split: str, certified: str, task: Task, tmp_path: Path
) -> None:
    write(tmp_path, train=50, validation=50, test=50)
    task = dataclasses.replace(task, split=certified)
    require_splits(task, split)
    rows, validation = training_data(task, split, 6)
    sources = rows[:]["source"]
    chosen = {example.source for example in validation}
    assert len(chosen) == 6
    assert all(len(example.references) == 2 for example in validation)
    assert chosen.isdisjoint(sources)
    assert len(sources) == 2 * (50 - 6)
    assert {source.split()[0] for source in [*sources, *chosen]} == {split}
    assert len(training_data(task, split, 1000)[1]) == 10  # a tenth of the rows


def test_a_missing_split_is_one_line(task: Task, tmp_path: Path) -> None:
    write(tmp_path, test=5)
    with pytest.raises(InputError, match="no train split at .*training.path=DIR"):
        require_splits(task, "train")
    write(tmp_path, train=5)
    with pytest.raises(InputError, match="no validation split at .*, by which checkpoints are chosen") as error:
        require_splits(task, "train")
    assert "\n" not in str(error.value)
    require_splits(dataclasses.replace(task, split="validation"), "train")


def test_too_few_rows_are_refused(task: Task, tmp_path: Path) -> None:
    write(tmp_path, validation=1)
    with pytest.raises(InputError, match="training.split=validation: 2 rows are too few"):
        training_data(task, "validation", 6)


def test_what_makes_a_grid_trains_no_learned_measure(task: Task, tmp_path: Path) -> None:
    """Each sentence stands in two rows, so leaving out rows alone would not do."""
    write(tmp_path, train=50)
    rows = task.rows("train")
    grid = grid_sources(task, "train", 10)
    chosen = measure_sources(task, "train", rows, 1000)
    assert len(set(chosen)) == len(chosen) == 50 - len(set(grid))
    assert not set(grid) & set(chosen)
    assert measure_sources(task, "train", rows, 7) == chosen[:7]
    other = dataclasses.replace(task, sample_seed=1)
    assert measure_sources(other, "train", rows, 1000) != chosen
