import math

import numpy as np
import pytest

from calm_bench.decoding import Decay, Rule
from calm_bench.errors import InputError
from calm_bench.measures import Softmax, State


def test_additive_decay_is_equation_5() -> None:
    decay = Decay("additive", tau=4)
    assert decay.threshold(0.8, 0, 100) == pytest.approx(0.9 * 0.8 + 0.1)
    assert decay.threshold(0.8, 25, 100) == pytest.approx(0.72 + 0.1 * math.exp(-1))
    assert decay.threshold(1.0, 0, 100) == 1.0
    assert decay.threshold(1.0, 100, 100) < 0.91  # why threshold 1 is not the full model


def test_multiplicative_decay_is_the_released_codes() -> None:
    assert Decay("multiplicative", tau=4).threshold(0.5, 25, 100) == pytest.approx(0.5 * (0.9 + 0.1 * math.exp(-1)))


def test_no_decay_keeps_the_threshold() -> None:
    assert Decay("none", tau=4).threshold(0.37, 9, 10) == 0.37


def test_decay_in_words() -> None:
    assert str(Decay("additive", 4.0)) == "additive(tau=4)"
    assert str(Decay("none", 4.0)) == "none"


def test_the_state_measure_cannot_exit_before_layer_2() -> None:
    assert Rule.adaptive(State(), 0.1, Decay("none")).min_layer == 2
    assert Rule.adaptive(Softmax(), 0.1, Decay("none"), min_layer=3).min_layer == 3


def test_a_speculative_rule_says_what_ran() -> None:
    """Two drafts: kept both and a token of the full model; none kept; one kept and the text ended."""
    rule = Rule.speculative(1, 2)
    layers = np.array([1, 1, 8, 8, 1])
    assert rule.rounds(layers, 8) == 3
    assert rule.layers_run(layers, 8) == 8 * 3 * 3 / 5
    assert Rule.full().layers_run(layers, 8) == layers.mean()


@pytest.mark.parametrize(("layer", "drafts"), [(0, 2), (4, 2), (1, 0)])
def test_a_speculative_rule_that_cannot_be(layer: int, drafts: int) -> None:
    with pytest.raises(InputError, match="rule speculative: the drafting layer"):
        Rule.speculative(layer, drafts).check_layers(4)
