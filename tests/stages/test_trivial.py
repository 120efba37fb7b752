"""What takes no model to write is scored as the model is, and beaten only where the model is surely ahead."""

import numpy as np
import pytest

from calm_bench.build import build
from calm_bench.stages.trivial import trivial
from calm_bench.tasks.sentences import first_sentences
from calm_bench.tasks.task import Example, Task
from tests.composed import composed


def test_sentences_end_at_marks_and_lines() -> None:
    text = " One. Two three! \n Four? 3.5 is a number. "
    assert first_sentences(text, 3) == "One.\nTwo three!\nFour?"
    assert first_sentences(text, 9).splitlines()[-1] == "3.5 is a number."
    assert first_sentences("no mark", 2) == "no mark"


@pytest.fixture
def task() -> Task:
    return build(composed("task=squad", "training=none").task, Task)


def asked(*answers: str) -> list[Example]:
    return [Example(str(n), "q", answer, (answer,), passage=answer) for n, answer in enumerate(answers)]


def test_the_most_frequent_answer_is_right_as_often_as_it_occurs(task: Task) -> None:
    examples = asked("two", "one", "two", "three")
    full = task.quality.statistics(["two", "one", "two", "three"], [e.references for e in examples])
    found = trivial(task, examples, full, seed=0)
    assert found is not None
    assert (found["name"], found["score"], found["ahead"]) == ("the most frequent answer", 50.0, 50.0)
    assert found["low"] <= 50 <= found["high"]


@pytest.mark.parametrize(("right", "beaten"), [(30, True), (16, False), (0, False)])
def test_it_is_beaten_where_all_of_the_interval_is_above_it(right: int, beaten: bool, task: Task) -> None:
    """15 of 60 answers are the frequent one; the model has others right, more or fewer."""
    examples = asked(*["often"] * 15, *(f"answer {n}x" for n in range(45)))
    texts = ["wrong"] * 15 + [f"answer {n}x" if n < right else "wrong" for n in range(45)]
    found = trivial(task, examples, task.quality.statistics(texts, [e.references for e in examples]), seed=0)
    assert found is not None
    assert found["beaten"] is beaten
    assert found["ahead"] == pytest.approx(np.mean([found["ahead_low"], found["ahead_high"]]), abs=3)
