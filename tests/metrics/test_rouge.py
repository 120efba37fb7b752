"""ROUGE equals rouge_score's after T5's sentence split."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from calm_bench.metrics.chrf import ChrF
from calm_bench.metrics.rouge import Rouge, Rouge1, Rouge2, RougeL, RougeLsum

ROUGE = RougeLsum()


def test_equals_rouge_score_after_the_sentence_split() -> None:
    scorer = RougeScorer(["rougeLsum"])
    prediction, reference = "The cat sat . A dog ran fast .", "A dog ran . The cat sat down ."
    split = scorer.score("A dog ran .\nThe cat sat down .", "The cat sat .\nA dog ran fast .")["rougeLsum"].fmeasure
    whole = scorer.score(reference, prediction)["rougeLsum"].fmeasure
    (score,) = ROUGE.scores([prediction], [[reference]])
    assert score == split
    assert split > whole + 0.1


def test_the_order_of_sentences_does_not_matter_but_that_of_words_does() -> None:
    reference = [["one two three . four five six ."]]
    assert ROUGE.scores(["four five six . one two three ."], reference) == 1
    assert ROUGE.scores(["three two one . six five four ."], reference) == pytest.approx(1 / 3)


def test_a_newline_ends_a_sentence_too() -> None:
    reference = [["one two .\nthree four ."]]
    assert ROUGE.scores(["three four . one two ."], reference) == 1


def test_no_stemming() -> None:
    assert ROUGE.scores(["cats running"], [["cat run"]]) == 0


def test_by_hand() -> None:
    # Longest common subsequence "the cat" of 3 and 4 words: precision 2/3, recall 2/4.
    (score,) = ROUGE.scores(["the black cat"], [["The cat is white"]])
    assert score == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


def test_the_best_reference_counts() -> None:
    np.testing.assert_array_equal(ROUGE.scores(["a b"], [["c d", "a b c", "a b"]]), [1])
    assert ROUGE.scores(["a b"], [["c d", "a b c"]]) == pytest.approx(0.8)


def test_texts_without_words() -> None:
    np.testing.assert_array_equal(ROUGE.scores(["", "", "é", "..."], [[""], ["a"], ["à"], ["..."]]), [1, 0, 0, 1])


def test_texts_that_its_tokeniser_does_not_read_are_spoken_of() -> None:
    hindi, french = "दिल्ली में बारिश हुई", "Été très doux à Orléans"
    assert ROUGE.scores([hindi[:-3]], [[hindi]]) == 0
    said = ROUGE.unsuited([(hindi,), (french, french), ("24",), ("...",)])
    assert said is not None
    assert "in the references of 1 of 4 examples" in said
    assert ROUGE.unsuited([(french,), ("",)]) is None
    assert ChrF().unsuited([(hindi,)]) is None


def test_quality_is_the_mean_in_percent() -> None:
    assert ROUGE.aggregate(ROUGE.statistics(["a b", "a"], [["a b"], ["b"]])) == 50


@pytest.mark.parametrize("metric", [Rouge1(), Rouge2(), RougeL(), RougeLsum()], ids=lambda metric: metric.name)
def test_every_kind_equals_rouge_score(metric: Rouge) -> None:
    predictions = ["The cat sat . A dog ran .", "Rain fell on Paris .\nIt poured .", "No words in common"]
    references = [["A dog ran . The cat sat down ."], ["It poured on Paris .\nRain fell .", "Rain ."], ["x y z"]]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    expected = [
        max(
            scorer.score(answer.replace(" . ", " .\n"), prediction.replace(" . ", " .\n"))[metric.kind].fmeasure
            for answer in answers
        )
        for prediction, answers in zip(predictions, references, strict=True)
    ]
    assert metric.scores(predictions, references).tolist() == expected


def test_the_kinds_by_hand() -> None:
    prediction, reference = ["a b c d"], [["c d a b"]]
    assert Rouge1().scores(prediction, reference) == 1  # the same words
    assert Rouge2().scores(prediction, reference) == pytest.approx(2 / 3)  # "a b" and "c d" of three pairs
    assert RougeL().scores(prediction, reference) == pytest.approx(1 / 2)  # "a b" or "c d"
