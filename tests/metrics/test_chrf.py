"""chrF is the best sentence score of sacrebleu."""

import numpy as np
import pytest
import sacrebleu

from calm_bench.metrics.chrf import ChrF

CHRF = ChrF()
PREDICTIONS = ["Le chat dort.", "Oui", "Un chien"]
REFERENCES = [["Le chien dort.", "Le chat dormait."], ["Non."], ["Un chien court.", "Le chien"]]


def test_is_the_best_over_the_references() -> None:
    expected = [
        max(sacrebleu.sentence_chrf(p, [answer]).score for answer in answers) / 100
        for p, answers in zip(PREDICTIONS, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(CHRF.scores(PREDICTIONS, REFERENCES), expected, atol=1e-15)
    assert 0 < expected[0] < 1


def test_quality_is_the_mean_sentence_in_percent() -> None:
    statistics = CHRF.statistics(PREDICTIONS, REFERENCES)
    assert CHRF.aggregate(statistics) == pytest.approx(100 * CHRF.scores(PREDICTIONS, REFERENCES).mean())


def test_empty_texts() -> None:
    np.testing.assert_array_equal(CHRF.scores(["", "", "a"], [[""], ["a"], [""]]), [1, 0, 0])


def test_a_change_costs_something() -> None:
    (score,) = CHRF.scores(["Le chat dort"], [["Le chat dort."]])
    assert 0.8 < score < 1


def test_the_description_is_sacrebleu_s_signature() -> None:
    metric = sacrebleu.metrics.CHRF()
    metric.corpus_score(["a"], [["a"]])
    assert CHRF.description.endswith(str(metric.get_signature()).removeprefix("nrefs:1|"))
