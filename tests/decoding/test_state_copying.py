"""What skipped layers leave for later tokens: every kind is the reference's, in one pass, beside the others."""

import numpy as np
import pytest

from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.state_copying import KINDS, StateCopying, source
from calm_bench.measures import Classifier, Softmax
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import Decode, compare
from tests.models_for_tests import random_sources, random_t5

LENGTH = 10


def rules_of(kind: StateCopying) -> list[Rule]:
    decay = Decay("additive", 4.0)
    thresholds = [(Softmax(), 0.1), (Softmax(), 0.02), (Classifier(), 0.4)]
    adaptive = [Rule.adaptive(measure, value, decay, state_copying=kind) for measure, value in thresholds]
    return [Rule.oracle(kind), *adaptive]


def test_every_kind_is_the_reference_beside_the_others(decode: Decode, model: EarlyExitT5) -> None:
    sources = random_sources(3, 4)
    rules = [Rule.full(), Rule.static(2), *(rule for kind in KINDS for rule in rules_of(kind))]
    generations = decode(model, sources, rules, LENGTH, batch_size=3)
    assert compare(model, generations, sources, rules, LENGTH) == 0
    of_kind = [generations.token_ids[:, 2 + 4 * k : 6 + 4 * k] for k in range(len(KINDS))]
    assert all((of_kind[0] != other).any() for other in of_kind[1:])  # else the test has no power


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gated", [True, False])
def test_the_oracle_with_the_true_cache_writes_the_full_models_text(decode: Decode, seed: int, gated: bool) -> None:
    model, sources = random_t5(seed, gated=gated, depth=6), random_sources(seed, 8)
    generations = decode(model, sources, [Rule.full(), Rule.oracle("true_state"), Rule.oracle()], 16)
    np.testing.assert_array_equal(generations.token_ids[:, 1], generations.token_ids[:, 0])
    assert (generations.mean_exit_layer[:, 1] < model.depth).any()


def test_kinds_agree_until_something_was_copied(decode: Decode, model: EarlyExitT5) -> None:
    """The first token attends to nothing copied; later ones do."""
    sources = random_sources(9, 6)
    generations = decode(model, sources, [rules_of(kind)[3] for kind in KINDS], LENGTH)
    first = generations.exit_layers[:, :, 0]
    assert (first == first[:, :1]).all()
    assert (generations.exit_layers[:, 1:] != generations.exit_layers[:, :1]).any()


def test_what_a_skipped_layer_is_given() -> None:
    """Layer 7 of a token that left after layer 3: (which layer projects, which state)."""
    assert {kind: source(kind, 7, 3) for kind in KINDS} == {
        "exit_state": (7, 3),
        "first_state": (7, 1),
        "projected_kv": (3, 2),
        "true_state": (7, 6),
    }
