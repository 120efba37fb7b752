"""BLEU equals sacrebleu's own, as a function and on the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.metrics.bleu import Bleu
from calm_bench.metrics.metric import Metric

BLEU = Bleu()
PREDICTIONS = ["Le chat dort sur le canapé.", "Il a 1,5 € — « merci » !", "Oui.", "C'est l'été à Paris, non ?", ""]
REFERENCES = [
    ["Le chat dort sur un canapé.", "Un chat dort sur le canapé bleu."],
    ["Il avait 1,5 € — « merci » !"],
    ["Oui.", "Si.", "Ouais."],
    ["C'est l'été à Paris ?", "C'est bien l'été à Paris, non ?"],
    ["Non."],
]


def corpus_bleu(predictions: list[str], references: list[list[str]]) -> float:
    most = max(map(len, references))
    streams = [[answers[i] if i < len(answers) else None for answers in references] for i in range(most)]
    return sacrebleu.corpus_bleu(predictions, streams, tokenize="intl", smooth_method="exp").score


def quality(predictions: list[str], references: list[list[str]]) -> float:
    return BLEU.aggregate(BLEU.statistics(predictions, references))


def test_equals_sacrebleu_with_differing_numbers_of_references() -> None:
    assert quality(PREDICTIONS, REFERENCES) == pytest.approx(corpus_bleu(PREDICTIONS, REFERENCES), abs=1e-12)
    assert 20 < quality(PREDICTIONS, REFERENCES) < 95


words = st.lists(st.sampled_from(["le", "chat", "dort,", "ici.", "l'été"]), max_size=8).map(" ".join)
pairs = st.lists(st.tuples(words, st.lists(words.filter(bool), min_size=1, max_size=3)), min_size=1, max_size=5)


@given(pairs)
def test_equals_sacrebleu_on_any_corpus(pairs: list[tuple[str, list[str]]]) -> None:
    predictions, references = [p for p, _ in pairs], [r for _, r in pairs]
    assert quality(predictions, references) == pytest.approx(corpus_bleu(predictions, references), abs=1e-12)


def test_equals_sacrebleu_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "predictions").write_text("\n".join(PREDICTIONS[:4]) + "\n")
    (tmp_path / "references").write_text("\n".join(answers[0] for answers in REFERENCES[:4]) + "\n")
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "predictions", "-tok", "intl", "-b", "-w", "10"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    single = [answers[:1] for answers in REFERENCES[:4]]
    assert quality(PREDICTIONS[:4], single) == pytest.approx(float(printed), abs=1e-9)


def test_the_corpus_is_not_the_mean_of_its_sentences() -> None:
    assert quality(PREDICTIONS, REFERENCES) != pytest.approx(100 * BLEU.scores(PREDICTIONS, REFERENCES).mean(), abs=1)


def test_statistics_are_counts_that_add_up() -> None:
    statistics = BLEU.statistics(["a b c"], [["a b d", "a b c d"]])
    np.testing.assert_array_equal(statistics, [[3, 3, 3, 2, 1, 0, 3, 2, 1, 0]])
    twice = BLEU.statistics(PREDICTIONS * 2, REFERENCES * 2)
    assert BLEU.aggregate(twice) == BLEU.aggregate(BLEU.statistics(PREDICTIONS, REFERENCES))


@given(pairs)
def test_the_draws_of_all_resamplings_at_once_are_sacrebleu_s_of_each(pairs: list[tuple[str, list[str]]]) -> None:
    statistics = BLEU.statistics([p for p, _ in pairs], [r for _, r in pairs])
    for seed in (0, 1):
        one_by_one = Metric.draws(BLEU, statistics, resamples=20, seed=seed)
        np.testing.assert_allclose(BLEU.draws(statistics, resamples=20, seed=seed), one_by_one, rtol=1e-12)


def test_sentence_scores_are_sacrebleu_s_with_the_effective_order() -> None:
    expected = [
        sacrebleu.sentence_bleu(p, r, tokenize="intl", use_effective_order=True).score / 100
        for p, r in zip(PREDICTIONS, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(BLEU.scores(PREDICTIONS, REFERENCES), expected, atol=1e-12)


def test_the_description_is_sacrebleu_s_signature() -> None:
    metric = sacrebleu.metrics.BLEU(tokenize="intl")
    metric.corpus_score(PREDICTIONS, [[answers[0] for answers in REFERENCES]])
    assert BLEU.description.removeprefix("sacrebleu BLEU|") == str(metric.get_signature()).replace(
        "nrefs:1", "nrefs:var"
    )
