"""Confidences of distributions whose answer is known."""

import math
from dataclasses import replace

import pytest
import torch

from calm_bench.cost.flops import Shape, elbayad, t5
from calm_bench.errors import InputError
from calm_bench.measures import (
    Entropy,
    KlDivergence,
    MaxProb,
    Measure,
    MlpClassifier,
    Patience,
    Softmax,
    SoftmaxTopk,
    State,
    StateStep,
    Visit,
)
from calm_bench.models import mlp_classifier as networks


def visit(probabilities: list[float], memory: torch.Tensor | None = None) -> Visit:
    """A head that gives these probabilities whatever the state."""
    logits = torch.tensor([probabilities]).log()

    def head(_: torch.Tensor, among: torch.Tensor | None = None) -> torch.Tensor:
        return logits if among is None else logits.gather(1, among)

    return Visit(1, torch.zeros(1, 2), torch.zeros(1, 2), head, memory=memory)


def test_softmax_is_the_gap() -> None:
    assert Softmax().confidence(visit([0.5, 0.2, 0.3])).item() == pytest.approx(0.2)


def test_max_prob() -> None:
    assert MaxProb().confidence(visit([0.5, 0.2, 0.3])).item() == pytest.approx(0.5)


def test_entropy_is_normalised_by_the_vocabulary() -> None:
    assert Entropy().confidence(visit([0.25] * 4)).item() == pytest.approx(0, abs=1e-6)
    assert Entropy().confidence(visit([0.5, 0.5, 1e-30, 1e-30])).item() == pytest.approx(0.5)
    assert Entropy().confidence(visit([1 - 3e-9, 1e-9, 1e-9, 1e-9])).item() == pytest.approx(1)


def test_softmax_topk_renormalises_over_the_kept_tokens() -> None:
    measure = SoftmaxTopk(k=2, layer=1)
    early = visit([0.5, 0.1, 0.4])
    kept = measure.remember(early)
    assert kept.tolist() == [[0, 2]]
    later = visit([0.2, 0.7, 0.1], kept)  # the best token now is not among the kept
    assert measure.confidence(later).item() == pytest.approx(0.1 / 0.3)


def test_softmax_topk_with_the_whole_vocabulary_is_softmax() -> None:
    measure, early = SoftmaxTopk(k=99, layer=1), visit([0.5, 0.1, 0.4])
    confidence = measure.confidence(visit([0.5, 0.1, 0.4], measure.remember(early)))
    torch.testing.assert_close(confidence, Softmax().confidence(early))


def test_state_is_the_cosine() -> None:
    states = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    assert State().confidence(Visit(2, *states, head=torch.zeros_like)).item() == pytest.approx(math.sqrt(0.5))


def through_layers(measure: Measure, visits: list[Visit]) -> list[float]:
    """Confidence after each layer from `first_layer` on, as the decoder asks: remembering first."""
    memory, found = None, []
    for layer, visit in enumerate(visits, 1):
        memory = measure.remember(replace(visit, memory=memory))
        if layer >= measure.first_layer:
            found.append(measure.confidence(replace(visit, memory=memory)).item())
    return found


def test_patience_counts_layers_in_a_row_with_the_same_token() -> None:
    first, second = [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]
    layers = [visit(p) for p in (first, second, second, second, first, first)]
    assert through_layers(Patience(k=3), layers) == pytest.approx([1 / 3, 2 / 3, 1, 1 / 3, 2 / 3])
    assert through_layers(Patience(k=2), layers) == pytest.approx([1 / 2, 1, 1, 1 / 2, 1])
    with pytest.raises(InputError, match="k=1 must be at least 2"):
        Patience(k=1)


def test_kl_divergence_is_that_of_the_layer_from_the_one_before() -> None:
    layers = [visit(p) for p in ([0.5, 0.5], [0.8, 0.2], [0.8, 0.2])]
    divergence = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert through_layers(KlDivergence(), layers) == pytest.approx([math.exp(-divergence), 1], abs=1e-6)


def test_state_step_compares_the_steps_of_two_layers() -> None:
    states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 2.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
    layers = [
        Visit(layer, states[layer : layer + 1], states[layer - 1 : layer], head=torch.zeros_like)
        for layer in range(1, 7)
    ]
    repeated, turned, back, ended, still = through_layers(StateStep(), layers)
    assert repeated == pytest.approx(1)
    assert turned == pytest.approx(1 - math.sqrt(5) / 3)
    assert back == pytest.approx(0)
    assert ended == pytest.approx(0)
    assert still == pytest.approx(1)  # neither layer moves: nothing is changing


def test_a_learned_measure_says_what_it_misses() -> None:
    measure = MlpClassifier(hidden=8)
    assert measure.missing({}) == "needs learned weights (mlp_classifier), and there are none"
    assert measure.missing({"mlp_classifier": networks.MlpClassifier(4, 3, 8)}) is None
    words = measure.missing({"mlp_classifier": networks.MlpClassifier(4, 3, 5)})
    assert words == "has 8 hidden units (measure.mlp_classifier.hidden), its weights have 5"
    assert Softmax().missing({}) is None
    with pytest.raises(InputError, match="hidden=0 must be at least 1"):
        MlpClassifier(hidden=0)


def test_softmax_topk_asks_the_whole_head_once_and_then_k_rows() -> None:
    shape = Shape(layers=8, d_model=4, d_attention=4, d_ff=8, gated=True, vocab=100, d_encoder=4)
    extra = t5([6], 3, shape, SoftmaxTopk(k=10, layer=2)) - t5([6], 3, shape, "oracle")
    assert extra == 2 * 100 * 4 + 5 * 2 * 10 * 4  # at layer 2; at layers 2 to 6


@pytest.mark.parametrize(("k", "layer", "words"), [(1, 1, "k=1 must be at least 2"), (5, 0, "layer=0 must be")])
def test_softmax_topk_refuses(k: int, layer: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SoftmaxTopk(k=k, layer=layer)


def test_softmax_topk_may_write_a_token_of_its_set() -> None:
    """The set is chosen at its layer; a later layer's best token may not be among it."""
    logits = torch.tensor([[9.0, 1.0, 2.0, 3.0]])

    def head(states: torch.Tensor, among: torch.Tensor | None = None) -> torch.Tensor:
        return logits if among is None else logits.gather(-1, among)

    visit = Visit(2, torch.zeros(1, 2), torch.zeros(1, 2), head, memory=torch.tensor([[3, 2]]))
    assert SoftmaxTopk(k=2, layer=1, writes="set").token(visit).tolist() == [3]
    assert SoftmaxTopk(k=2, layer=1).own_token is False
    with pytest.raises(InputError, match="writes='best' must be vocabulary or set"):
        SoftmaxTopk(k=2, layer=1, writes="best")  # type: ignore[arg-type]


def test_a_token_of_the_set_saves_the_head_of_every_early_exit() -> None:
    shape = Shape(layers=8, d_model=16, d_attention=16, d_ff=32, gated=True, vocab=100, d_encoder=16)
    best, own = SoftmaxTopk(k=10, layer=2), SoftmaxTopk(k=10, layer=2, writes="set")
    for count in (t5, elbayad):
        assert count([6, 8, 3], 3, shape, best) - count([6, 8, 3], 3, shape, own) == 2 * (2 * 100 * 16)
