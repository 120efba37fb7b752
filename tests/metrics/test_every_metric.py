"""What holds for every metric, by its being a subclass of Metric in calm_bench/metrics."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import calm_bench.metrics
from calm_bench.errors import InputError
from calm_bench.metrics.bleurt import Bleurt
from calm_bench.metrics.hugging_face import Evaluated
from calm_bench.metrics.metric import Metric

for module in pkgutil.iter_modules(calm_bench.metrics.__path__):
    importlib.import_module(f"calm_bench.metrics.{module.name}")


def kinds(base: type[Metric]) -> Iterator[type[Metric]]:
    for metric in base.__subclasses__():
        yield from kinds(metric) if metric.__subclasses__() else [metric]


METRICS = [metric() for metric in kinds(Metric) if metric is not Bleurt]  # its weights are not here: test_bleurt.py
every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)

# Few words, so that texts overlap; and any text at all, so that nothing is taken for granted.
words = st.lists(st.sampled_from(["the", "Cat", "cat,", "é", "ran", ".", "7"]), max_size=6).map(" ".join)
texts = words | st.text(max_size=12)
references = st.lists(texts, min_size=1, max_size=3)

PREDICTIONS = ["le chat dort .", "", "le chien court vite .", "le chat dort ."]
REFERENCES = [["le chat dort .", "un chat dort ."], ["oui"], ["le chien court .", "un chien"], ["le chat a dormi ."]]


def test_all_metrics_are_found() -> None:
    assert {metric.name for metric in METRICS} == {
        "BLEU",
        "chrF",
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
        "ROUGE-Lsum",
        "F1",
        "EM",
    }


@every_metric
@given(prediction=texts, references=references)
def test_scores_lie_in_the_unit_interval(metric: Metric, prediction: str, references: list[str]) -> None:
    (score,) = metric.scores([prediction], [references])
    assert 0 <= score <= 1


@every_metric
@given(prediction=texts, others=st.lists(texts, max_size=2))
def test_an_identical_text_scores_exactly_one(metric: Metric, prediction: str, others: list[str]) -> None:
    (score,) = metric.scores([prediction], [[*others, prediction]])
    assert 1 - score == 0


@every_metric
@given(prediction=texts, references=references)
def test_the_order_of_references_does_not_matter(metric: Metric, prediction: str, references: list[str]) -> None:
    assert metric.scores([prediction], [references]) == metric.scores([prediction], [references[::-1]])


@every_metric
@given(pairs=st.lists(st.tuples(texts, references), min_size=2, max_size=6))
def test_each_example_is_scored_by_itself(metric: Metric, pairs: list[tuple[str, list[str]]]) -> None:
    predictions, answers = zip(*pairs, strict=True)
    together = metric.scores(predictions, answers)
    alone = [metric.scores([prediction], [answer])[0] for prediction, answer in pairs]
    assert together.tolist() == alone


@every_metric
def test_each_distinct_pair_is_computed_once(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[str, object]] = []
    pair = metric.pair
    monkeypatch.setattr(metric, "pair", lambda p, r: computed.append((p, r)) or pair(p, r))
    once = metric.scores(PREDICTIONS, REFERENCES)
    assert len(computed) == 4
    computed.clear()
    np.testing.assert_array_equal(metric.scores(PREDICTIONS * 3, REFERENCES * 3), np.tile(once, 3))
    assert len(computed) == 4


@every_metric
def test_quality_is_a_percentage_within_its_interval(metric: Metric) -> None:
    statistics = metric.statistics(PREDICTIONS * 5, REFERENCES * 5)
    low, high = metric.interval(statistics, resamples=200, seed=3)
    assert 0 <= low < metric.aggregate(statistics) < high <= 100
    assert (low, high) == metric.interval(statistics, resamples=200, seed=3)
    assert (low, high) != metric.interval(statistics, resamples=200, seed=4)
    narrow_low, narrow_high = metric.interval(statistics, level=0.5, resamples=200, seed=3)
    assert low < narrow_low < narrow_high < high


@every_metric
def test_two_scorings_give_the_same_numbers(metric: Metric) -> None:
    first, second = (type(metric)().statistics(PREDICTIONS * 3, REFERENCES * 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@every_metric
def test_evaluate_computes_the_same(metric: Metric) -> None:
    expected = metric.aggregate(metric.statistics(PREDICTIONS, REFERENCES))
    assert Evaluated(metric).compute(predictions=PREDICTIONS, references=REFERENCES) == {metric.name: expected}


def test_metrics_combine() -> None:
    combined = evaluate.combine(list(map(Evaluated, METRICS))).compute(predictions=PREDICTIONS, references=REFERENCES)
    assert set(combined) == {metric.name for metric in METRICS}


@every_metric
def test_an_example_without_references_is_refused(metric: Metric) -> None:
    for missing in ([], ""):
        with pytest.raises(InputError, match=r"references\[1\] is .* but must be one or more strings"):
            metric.scores(["a", "b"], [["a"], missing])
    with pytest.raises(InputError, match=r"references\[0\] is 'a'"):
        metric.statistics(["a"], ["a"])


@every_metric
def test_lengths_that_differ_and_nothing_at_all_are_refused(metric: Metric) -> None:
    with pytest.raises(InputError, match="2 predictions but references for 1"):
        metric.scores(["a", "b"], [["a"]])
    with pytest.raises(InputError, match="no predictions to score"):
        metric.statistics([], [])


@pytest.mark.parametrize("level", [0, 1, 1.5])
def test_a_level_outside_the_unit_interval_is_refused(level: float) -> None:
    with pytest.raises(InputError, match=rf"level={level} of an interval must lie in \(0, 1\)"):
        METRICS[0].interval(np.ones((3, 10)), level=level)


def test_the_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    metric = next(metric for metric in METRICS if metric.name == "F1")
    scores = np.random.default_rng(0).beta(2, 1, size=(400, 1))
    low, high = metric.interval(scores, resamples=2000)
    half_width = 1.96 * 100 * scores.std() / np.sqrt(len(scores))
    assert (high - low) / 2 == pytest.approx(half_width, rel=0.1)


@pytest.mark.slow
def test_another_process_gives_the_same_numbers() -> None:
    program = (
        "import json, sys\n"
        "from pydoc import locate\n"
        "names, predictions, references = json.load(sys.stdin)\n"
        "print(json.dumps([locate(n)().statistics(predictions, references).tolist() for n in names]))"
    )
    names = [f"{type(metric).__module__}.{type(metric).__name__}" for metric in METRICS]
    result = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([names, PREDICTIONS, REFERENCES]),
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [metric.statistics(PREDICTIONS, REFERENCES).tolist() for metric in METRICS]
    assert json.loads(result.stdout) == here
