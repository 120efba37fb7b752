"""The fast decoder is the reference: same tokens, same exit layers, in any batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.decoding.reference import decode_reference
from calm_bench.measures import State
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import BOUNDED, MEASURES, TIE, Decode, compare, every_rule, generated, shared_t5
from tests.models_for_tests import random_sources

LENGTH = 10


def test_every_rule_equals_the_reference_in_one_pass(decode: Decode, model: EarlyExitT5) -> None:
    sources, rules = random_sources(1, 3), every_rule(model.depth)
    generations = decode(model, sources, rules, LENGTH, batch_size=2)
    assert compare(model, generations, sources, rules, LENGTH) == 0
    left = generations.exit_layers[generations.exit_layers > 0]
    assert set(left.tolist()) == set(range(1, model.depth + 1))  # the test has power only if every layer is left at


def test_confidences_of_the_grid_are_exact(model: EarlyExitT5) -> None:
    """What the loss of a threshold is drawn over must not be an executor's bound (`BOUNDED` in conftest.py)."""
    for measure in BOUNDED:
        rule = Rule.adaptive(measure, 0.02, Decay("none"))
        known = []
        for source in random_sources(1, 3):
            decoded = Decoder(model, executor="grid").decode([source], [rule], LENGTH).confidences[0, 0]
            expected = [token.confidence for token in decode_reference(model, source, rule, LENGTH)]
            known += [pair for pair in zip(decoded, expected, strict=False) if pair[1] is not None]
        assert known
        np.testing.assert_allclose(*zip(*known, strict=True), atol=TIE, rtol=0)


@pytest.mark.parametrize(
    ("encoder", "depth", "gated"),
    [(1, 1, True), (3, 2, True), (2, 6, False), (1, 3, False), (5, 4, True), (1, 24, True)],
)
def test_shapes_of_t5(decode: Decode, encoder: int, depth: int, gated: bool) -> None:
    model = shared_t5(3, encoder=encoder, depth=depth, gated=gated)
    sources = random_sources(2, 2)
    rules = [Rule.full(), Rule.oracle(), Rule.static(1)]
    rules += [Rule.adaptive(measure, 0.3, Decay("multiplicative", 4.0)) for measure in MEASURES]
    compare(model, decode(model, sources, rules, LENGTH), sources, rules, LENGTH)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)), batch_size=st.integers(1, 4))
def test_a_text_does_not_depend_on_its_neighbours(decode: Decode, seed: int, order: list[int], batch_size: int) -> None:
    model = shared_t5(seed % 5)
    sources, rules = random_sources(seed, 4), every_rule(4)
    alone = [decode(model, [source], rules, 6) for source in sources]
    together = decode(model, [sources[index] for index in order], rules, 6, batch_size=batch_size)
    for place, index in enumerate(order):
        np.testing.assert_array_equal(together.exit_layers[place], alone[index].exit_layers[0])
        np.testing.assert_array_equal(together.token_ids[place], alone[index].token_ids[0])


def test_a_rule_does_not_depend_on_the_rules_beside_it(decode: Decode, model: EarlyExitT5) -> None:
    sources, rules = random_sources(4, 4), every_rule(model.depth)
    together = decode(model, sources, rules, LENGTH)
    for index, rule in enumerate(rules):
        alone = decode(model, sources, [rule], LENGTH)
        np.testing.assert_array_equal(together.exit_layers[:, index], alone.exit_layers[:, 0])
        np.testing.assert_array_equal(together.token_ids[:, index], alone.token_ids[:, 0])


@pytest.mark.parametrize("kind", ["v1.0", "v1.1", "mt5"])
@pytest.mark.parametrize(("encoder", "depth"), [(2, 4), (4, 2), (1, 1), (12, 4), (2, 24)])
def test_the_full_model_is_generate_of_transformers(decode: Decode, kind: str, encoder: int, depth: int) -> None:
    model = shared_t5(7, encoder=encoder, depth=depth, gated=kind != "v1.0", mt5=kind == "mt5")
    assert model.backbone.config.model_type == ("mt5" if kind == "mt5" else "t5")
    tied = model.backbone.lm_head.weight.data_ptr() == model.backbone.shared.weight.data_ptr()
    assert tied == (kind == "v1.0")
    sources = random_sources(5, 6)
    generations = decode(model, sources, [Rule.full()], 16)
    for example, source in enumerate(sources):
        expected = generated(model, tuple(source), 16)
        assert generations.token_ids[example, 0, : len(expected)].tolist() == expected
        assert generations.n_tokens[example, 0] == len(expected)


def test_exiting_at_the_last_layer_and_never_passing_are_the_full_model(decode: Decode, model: EarlyExitT5) -> None:
    sources = random_sources(6, 4)
    never = [Rule.adaptive(measure, 1.0, Decay("none")) for measure in MEASURES if not isinstance(measure, State)]
    generations = decode(model, sources, [Rule.full(), Rule.static(model.depth), *never], LENGTH)
    assert (generations.exit_layers[generations.exit_layers > 0] == model.depth).all()
    for index in range(1, 2 + len(never)):
        np.testing.assert_array_equal(generations.token_ids[:, index], generations.token_ids[:, 0])
