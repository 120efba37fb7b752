"""SQuAD's F1 and exact match, computed by hand."""

import pytest

from calm_bench.metrics.squad_f1 import ExactMatch, SquadF1, normalise

F1, EM = SquadF1(), ExactMatch()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Denver\tBroncos", "denver broncos"),
        ("a theatre, an answer; the end", "theatre answer end"),
        ("$5.3 million", "53 million"),
        ("$ 5 . 3 million", "5 3 million"),
        ("Levi's", "levis"),
        ("the-end", "theend"),  # punctuation goes before articles do
        ("A", ""),
        ("", ""),
        ("...", ""),
        ("24–10", "24–10"),  # an en dash is not ASCII punctuation
        ("«Été»", "«été»"),
        ("ÉTÉ\u00a0là", "été là"),
    ],
)
def test_normalisation(answer: str, expected: str) -> None:
    assert normalise(answer) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "f1", "exact"),
    [
        ("Denver Broncos", ["the Denver Broncos!"], 1, 1),
        ("Denver", ["Denver Broncos"], 2 / 3, 0),  # precision 1, recall 1/2
        ("Broncos Denver", ["Denver Broncos"], 1, 0),
        ("in the year 2015", ["2015"], 0.5, 0),  # in, year, 2015: precision 1/3, recall 1
        ("dog dog cat", ["dog cat cat"], 2 / 3, 0),  # a word counts as often as both have it
        ("blue", ["red"], 0, 0),
        ("blue", ["red", "dark blue", "blue"], 1, 1),
        ("blue", ["red", "very dark blue"], 0.5, 0),
        ("", ["red"], 0, 0),
        ("red", ["the"], 0, 0),
        ("", [""], 1, 1),
        ("the", ["..."], 1, 1),
        ("été", ["ete"], 0, 0),
    ],
)
def test_scores(prediction: str, answers: list[str], f1: float, exact: float) -> None:
    assert F1.scores([prediction], [answers]) == pytest.approx(f1)
    assert EM.scores([prediction], [answers]) == exact


def test_quality_is_the_mean_in_percent() -> None:
    predictions, answers = ["Denver", "red"], [["Denver Broncos"], ["red"]]
    assert F1.aggregate(F1.statistics(predictions, answers)) == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert EM.aggregate(EM.statistics(predictions, answers)) == 50
