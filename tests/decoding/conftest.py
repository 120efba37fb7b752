from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch

from calm_bench.decoding import Decay, Decoder, Generations, Rule
from calm_bench.decoding.executor import EXECUTORS, executor_class
from calm_bench.decoding.reference import Token, decode_reference
from calm_bench.measures import Classifier, Entropy, MaxProb, Measure, MlpClassifier, Softmax, SoftmaxTopk, State
from calm_bench.models import EarlyExitT5
from tests.models_for_tests import random_t5

MEASURES: list[Measure] = [
    Softmax(),
    State(),
    Classifier(),
    SoftmaxTopk(k=8, layer=2),
    SoftmaxTopk(k=3, layer=1, writes="set"),
    MaxProb(),
    Entropy(),
    MlpClassifier(hidden=256),
]
TIE = 1e-5
BOUNDED = (Softmax(), MaxProb())  # the native executor knows only on which side of the threshold these are
Decode = Callable[..., Generations]


torch.set_num_threads(1)  # more threads only slow such small products down


@pytest.fixture(scope="session")
def model() -> EarlyExitT5:
    return random_t5()


@pytest.fixture(scope="session", params=list(EXECUTORS))
def decode(request: pytest.FixtureRequest, model: EarlyExitT5) -> Decode:
    """Decoding by each registered executor; what it refuses of a test's rules, the decoder gives to the grid."""
    name: str = request.param
    if reason := executor_class(name).unavailable(model, torch.float32):
        pytest.skip(f"the {name} executor is not available: {reason}")
    return lambda model, *args, **options: Decoder(model, executor=name).decode(*args, **options)


def every_rule(depth: int, tau: float = 4.0) -> list[Rule]:
    """The full model, the oracle, each static layer, and each measure at thresholds across its range."""
    rules = [Rule.full(), Rule.oracle(), *(Rule.static(layer) for layer in range(1, depth + 1))]
    rules += [Rule.speculative(layer, drafts) for layer in range(1, depth) for drafts in (1, 2, 5)]
    for measure in MEASURES:
        rules += [Rule.adaptive(measure, value, Decay("additive", tau)) for value in (0.9, 0.6, 0.4, 0.3, 0.1, 0.02)]
    return rules


def assert_same(
    generations: Generations, example: int, rule_index: int, rule: Rule, reference: list[Token], max_new_tokens: int
) -> int:
    """Assert equality with the reference; returns 1 where they part at a tie, within 1e-5 of the threshold, else 0."""
    length = int(generations.n_tokens[example, rule_index])
    tokens = generations.token_ids[example, rule_index, :length].tolist()
    layers = generations.exit_layers[example, rule_index, :length].tolist()
    confidences = generations.confidences[example, rule_index, :length]
    if tokens == [t.token_id for t in reference] and layers == [t.exit_layer for t in reference]:
        expected = [np.nan if t.confidence is None else t.confidence for t in reference]
        np.testing.assert_allclose(confidences, expected, atol=2e-3 if rule.measure in BOUNDED else TIE, rtol=0)
        return 0
    step = next(i for i, t in enumerate(reference) if (t.token_id, t.exit_layer) != (tokens[i], layers[i]))
    earlier = reference[step].confidence if reference[step].exit_layer < layers[step] else float(confidences[step])
    assert earlier is not None
    assert layers[step] != reference[step].exit_layer, (rule, step, tokens, layers, reference)
    assert abs(earlier - rule.threshold_at(step, max_new_tokens)) < TIE, (rule, step, earlier)
    return 1


shared_t5 = lru_cache(maxsize=None)(random_t5)  # for tests that change nothing of it: one reference serves them all


@lru_cache(maxsize=10_000)
def reference_of(model: EarlyExitT5, source: tuple[int, ...], rule: Rule, max_new_tokens: int) -> list[Token]:
    """What the reference writes: slowly, and for every executor the same."""
    return decode_reference(model, list(source), rule, max_new_tokens)


@lru_cache(maxsize=10_000)
def generated(model: EarlyExitT5, source: tuple[int, ...], max_new_tokens: int) -> list[int]:
    """What transformers writes."""
    return model.generate(list(source), max_new_tokens)


def compare(
    model: EarlyExitT5, generations: Generations, sources: list[list[int]], rules: list[Rule], max_new_tokens: int
) -> int:
    """Hold every text of `generations` against the reference; the number of ties met."""
    return sum(
        assert_same(generations, e, r, rule, reference_of(model, tuple(source), rule, max_new_tokens), max_new_tokens)
        for e, source in enumerate(sources)
        for r, rule in enumerate(rules)
    )
