"""Prompts and targets of each task, word by word, and which examples are chosen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.errors import InputError
from calm_bench.tasks.squad import spaced
from calm_bench.tasks.task import Example

from .conftest import ROW, Build, Folder


def pairs(*texts: tuple[str, str]) -> list[dict[str, dict[str, str]]]:
    return [{"translation": {"en": english, "fr": french}} for english, french in texts]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnndm", Example("a1", "summarize: It rained. It poured.", "Rain .\nMore rain .", ("Rain .\nMore rain .",))),
        ("wmt15_enfr", Example("test-0", "translate English to French: A house.", "Une maison.", ("Une maison.",))),
        ("tatoeba_enfr", Example("test-0", "translate English to French: A house.", "Une maison.", ("Une maison.",))),
        (
            "squad",
            Example("q1", "question: Who ran ? context: Bob , 7 , ran .", "Bob", ("Bob", "Bob, 7"), "Bob, 7, ran."),
        ),
        ("scitldr", Example("p1", "summarize: We study x.", "On x.", ("On x.", "About x."))),
    ],
)
def test_texts(name: str, expected: Example, build: Build, folder: Folder) -> None:
    assert build(name, path=folder(test=[ROW[name]])).examples("test") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a-b", "a - b"),
        ("$5.3 (US)", "$ 5 . 3 ( US )"),
        ("x_y\tz\n", "x_y z"),
        ("x_y\u00a0z", "x_y z"),
        ("24–10 café «oui»", "24 – 10 caf é « oui »"),  # letters are ASCII's to the pattern that T5 used
    ],
)
def test_spaces_around_all_but_letters_and_digits(text: str, expected: str) -> None:
    assert spaced(text) == expected


@given(st.text())
def test_spacing_adds_nothing_but_spaces(text: str) -> None:
    assert spaced(text).replace(" ", "") == "".join(text.split())
    assert spaced(spaced(text)) == spaced(text)
    assert all(len(word) == 1 or word.isascii() for word in spaced(text).split())


def test_an_answer_is_scored_as_the_paragraph_has_it(build: Build, folder: Folder) -> None:
    """The official script takes "5.3" for 53: the spaces that T5 learns to write would make it 5 and 3."""
    row = {"id": "q", "question": "How much?", "context": "It cost $5.3 million (US$), not 5 . 3 or Été, of 5.3."}
    task = build("squad", path=folder(validation=[row | {"answers": {"text": ["$5.3 million", "5.3"]}}]))
    (example,) = task.examples("validation")
    assert example.references == ("$5.3 million", "5.3")
    assert example.target == "$ 5 . 3 million"
    said = {"$ 5 . 3 million": "$5.3 million", "( US $ )": "(US$)", "É t é": "Été", "3 million": "3 million"}
    assert {text: task.as_written(text, example) for text in [*said, "", "It"]} == {**said, "": "", "It": "It"}
    assert task.quality.scores([task.as_written(example.target, example)], [example.references]) == 1
    assert task.quality.scores([example.target], [example.references]) < 1


def test_tatoeba_groups_translations_for_evaluation_only(build: Build, folder: Folder) -> None:
    rows = pairs(("Go.", "Va !"), ("Run!", "Cours !"), ("Go.", "Allez !"))
    task = build("tatoeba_enfr", path=folder(test=rows, train=rows))
    go, run = task.examples("test")
    assert (go.id, go.target, go.references) == ("test-0", "Va !", ("Va !", "Allez !"))
    assert (run.id, run.references) == ("test-1", ("Cours !",))
    assert task.rows("train")[:]["target"] == ["Va !", "Cours !", "Allez !"]
    assert task.rows("train")[:]["id"] == ["train-0", "train-1", "train-2"]


def test_wmt_keeps_a_sentence_that_comes_twice(build: Build, folder: Folder) -> None:
    rows = pairs(("Go.", "Va !"), ("Go.", "Allez !"))
    assert len(build("wmt15_enfr", path=folder(test=rows)).examples("test")) == 2


def test_limit_samples_without_replacement_in_file_order(build: Build, folder: Folder) -> None:
    path = folder(test=pairs(*((f"{i}", f"{i}") for i in range(50))))
    task = build("tatoeba_enfr", path=path)

    def chosen(limit: int | None, seed: int = 0) -> list[int]:
        examples = build("tatoeba_enfr", path=path, sample_seed=seed).examples("test", limit)
        return [int(example.target) for example in examples]

    assert chosen(None) == chosen(50) == chosen(51) == list(range(50))
    assert chosen(10) == sorted(set(chosen(10)))
    assert chosen(10) == chosen(10) != list(range(10))
    assert chosen(10) != chosen(10, seed=1)
    assert set(chosen(10)) < set(chosen(20))
    with pytest.raises(InputError, match="limit=0 must be at least 1"):
        task.examples("test", 0)


def test_training_rows_are_mapped_only_when_read(build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    task = build("tatoeba_enfr", path=folder(train=pairs(("Go.", "Va !"), ("Run!", "Cours !"))))
    read: list[str] = []
    example = type(task).example
    monkeypatch.setattr(type(task), "example", lambda self, row, i: read.append(i) or example(self, row, i))
    rows = task.rows("train")
    assert read == []
    assert rows[1]["target"] == "Cours !"
    assert read == ["train-1"]
