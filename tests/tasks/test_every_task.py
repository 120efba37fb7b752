"""What holds for every task, by its having a file in conf/task."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from calm_bench.tasks.task import Task

from .conftest import ASSETS, ROOT, ROW, Build, Folder

FILES = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((ROOT / "conf" / "task").glob("*.yaml"))}
TASKS = list(FILES)
WHOLE = [name for name, lines in FILES.items() if isinstance(lines["defaults"][0], dict)]  # others change lines of one
BUNDLED = {"tatoeba_enfr": {"validation": 2956, "test": 3010}, "squad": {"validation": 300}, "scitldr": {"test": 300}}


@pytest.mark.parametrize("name", WHOLE)
def test_the_yaml_has_one_line_for_each_field(name: str) -> None:
    config = dict(FILES[name])
    lines = config.pop("defaults")[:-1]
    chosen = {key.removeprefix("/metric@").split(".")[0] for line in lines for key in line}
    assert chosen == {"quality", "similarity", "beside"}
    assert list(config) == ["_target_", *(field.name for field in fields(Task) if field.name not in chosen)]
    assert config["name"] == name
    assert {"softmax", "state", "classifier"} <= set(config["tau"])


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("name", TASKS)
def test_a_row_becomes_the_same_text_for_training_and_evaluation(
    name: str, suffix: str, build: Build, folder: Folder
) -> None:
    task = build(name, path=folder(suffix, test=[ROW[name]]))
    (example,) = task.examples("test")
    assert task.rows("test")[0] == {"id": example.id, "source": example.source, "target": example.target}
    assert example.source.startswith(task.prompt)
    assert task.as_written(example.target, example) in example.references
    assert task.has_split("test")
    assert not task.has_split("train")


@pytest.mark.parametrize("name", TASKS)
def test_what_takes_no_model_to_write(name: str, build: Build, folder: Folder) -> None:
    task = build(name, path=folder(test=[ROW[name]]))
    examples = task.examples("test")
    trivial = task.trivial(examples)
    assert trivial is not None
    words, (text,) = trivial
    assert words.startswith(("a ", "the "))
    assert text
    assert not (task.prompt and text.startswith(task.prompt))
    assert text in examples[0].source.replace(". It", ".\nIt")  # nothing is made up


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_splits_load_and_every_example_is_complete(name: str, build: Build) -> None:
    task = build(name, path=str(ASSETS / "data" / name))
    assert {split: len(task.rows(split)) for split in ("train", "validation", "test") if task.has_split(split)} == (
        BUNDLED[name]
    )
    for split in BUNDLED[name]:
        examples = task.examples(split)
        assert len({example.id for example in examples}) == len(examples)
        assert all(example.source and all(example.references) for example in examples)


def test_the_bundled_tasks_are_the_defaults_that_need_no_network(build: Build) -> None:
    assert {name for name in TASKS if build(name).path is not None} == {"tatoeba_enfr", "scitldr"}
    assert all(Path(build(name).path or "").is_dir() for name in ("tatoeba_enfr", "scitldr"))


def test_decay_temperatures_are_the_paper_s(build: Build) -> None:
    for name in TASKS:
        expected = 0 if name == "squad" else 4
        tau = dict(build(name).tau)
        # softmax over a pruned vocabulary stands for softmax; it is not in the paper.
        assert tau.pop("softmax_topk") == expected
        assert tau == {"softmax": expected, "state": 0, "classifier": expected}
