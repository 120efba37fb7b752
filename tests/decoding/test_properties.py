"""What holds for every model, rule and batch, over random ones."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.state_copying import KINDS
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import MEASURES, Decode, compare
from tests.models_for_tests import random_sources, random_t5

LENGTH = 6


@st.composite
def models(draw: st.DrawFn) -> EarlyExitT5:
    """Any seed, depths of both stacks, feed-forward and head."""
    kind = draw(st.sampled_from(["v1.0", "v1.1", "mt5"]))
    return random_t5(
        draw(st.integers(0, 10**6)),
        encoder=draw(st.integers(1, 3)),
        depth=draw(st.integers(1, 7)),
        gated=kind != "v1.0",
        mt5=kind == "mt5",
        d_model=draw(st.sampled_from([8, 20, 32])),
    )


@st.composite
def adaptive_rules(draw: st.DrawFn) -> Rule:
    decay = Decay(draw(st.sampled_from(["additive", "multiplicative", "none"])), draw(st.floats(0, 8)))
    measure, threshold = draw(st.sampled_from(MEASURES)), draw(st.floats(0.005, 1.0))
    return Rule.adaptive(measure, threshold, decay, draw(st.integers(1, 4)), draw(st.sampled_from(KINDS)))


rules_of_any_kind = st.one_of(
    adaptive_rules(), adaptive_rules(), st.sampled_from([Rule.full(), *(Rule.oracle(kind) for kind in KINDS)])
)


@settings(max_examples=15)
@given(models(), st.lists(rules_of_any_kind, min_size=1, max_size=8), st.integers(0, 10**6), st.integers(1, 3))
def test_any_batch_is_the_reference(
    decode: Decode, model: EarlyExitT5, rules: list[Rule], seed: int, batch_size: int
) -> None:
    sources = random_sources(seed, 3, longest=5)
    generations = decode(model, sources, rules, LENGTH, batch_size=batch_size)
    compare(model, generations, sources, rules, LENGTH)
    for index, rule in enumerate(rules):
        layers = generations.exit_layers[:, index]
        layers = layers[layers > 0]
        assert layers.min() >= min(rule.min_layer, model.depth)
        assert layers.max() <= model.depth


@settings(max_examples=12)
@given(models(), st.integers(0, 10**6), st.integers(1, 4))
def test_what_the_full_model_writes(decode: Decode, model: EarlyExitT5, seed: int, batch_size: int) -> None:
    """Exits at L everywhere, exits that no measure allows, and the oracle with a true cache all write its text."""
    sources = random_sources(seed, 4)
    beyond = [Rule.adaptive(measure, 1.01, Decay("none")) for measure in MEASURES]  # above every confidence
    rules = [Rule.full(), Rule.static(model.depth), *beyond, Rule.oracle("true_state")]
    generations = decode(model, sources, rules, LENGTH, batch_size=batch_size)
    for index in range(1, len(rules)):
        np.testing.assert_array_equal(generations.token_ids[:, index], generations.token_ids[:, 0])
    layers = generations.exit_layers[:, :-1]
    assert set(layers.ravel().tolist()) <= {0, model.depth}
    assert (generations.exit_layers[:, -1] <= generations.exit_layers[:, 0]).all()
