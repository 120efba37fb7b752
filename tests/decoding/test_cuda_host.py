"""The host's part of the CUDA executor, with its kernels' work done in torch: which graphs it starts, what it reads."""

import pytest
import torch

from calm_bench.choices import StateCopying
from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.cuda import session
from calm_bench.decoding.state_copying import KINDS
from calm_bench.measures import Classifier, Entropy, MaxProb, MlpClassifier, Softmax, State
from tests.decoding.conftest import compare, shared_t5
from tests.decoding.recorded_launches import CudaInTorch
from tests.models_for_tests import random_sources, random_t5

MEASURES = (State(), Classifier(), MlpClassifier(256), Softmax(), MaxProb(), Entropy())
LENGTH = 8


AHEAD, NEVER = -1.0, 2.0  # of the answer, always or never
LIKELY = session.WORTH_IT


@pytest.mark.parametrize(
    ("kind", "worth_it"),
    [
        *((kind, LIKELY) for kind in KINDS),
        ("exit_state", AHEAD),
        ("exit_state", NEVER),
        ("true_state", AHEAD),
    ],
)
def test_every_rule_equals_the_reference(kind: StateCopying, worth_it: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WORTH_IT", worth_it)
    model, sources, decay = shared_t5(), random_sources(1, 2), Decay("additive", 4.0)
    rules = [Rule.full(), Rule.oracle(kind), *(Rule.static(layer) for layer in (1, 3))]
    rules += [Rule.adaptive(m, at, decay, state_copying=kind) for m in MEASURES for at in (0.9, 0.5, 0.2)]
    rules += [Rule.adaptive(Classifier(), 0.5, decay, min_layer=first, state_copying=kind) for first in (2, 4)]
    executor = CudaInTorch(model, torch.float32)
    generations = executor.run(executor.encode(sources), rules, LENGTH)
    assert compare(model, generations, sources, rules, LENGTH) == 0
    left = generations.exit_layers[generations.exit_layers > 0]
    assert set(left.tolist()) == set(range(1, model.depth + 1))


def test_a_layer_is_launched_once_needed_or_ahead_where_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rule = random_t5(depth=3), Rule.adaptive(Classifier(), -1.0, Decay("none"))

    def launched(worth_it: float) -> list[str]:
        monkeypatch.setattr(session, "WORTH_IT", worth_it)
        executor = CudaInTorch(model, torch.float32)
        context = executor.encode([[5, 6, 1]])
        executor.run(context, [rule], 1)
        executor.launches.launched.clear()
        executor.run(context, [rule], 1)
        return executor.launches.launched

    first, leave = ["layer 1", "ask 1"], ["leave 1"]
    assert launched(worth_it=NEVER) == [*first, *leave, *first]  # the next token's first layer, before its end is known
    assert launched(worth_it=AHEAD) == [*first, "layer 2", "ask 2", *leave, *first]


def test_likelihood_follows_what_tokens_do() -> None:
    model, sources = random_t5(), random_sources(2, 1)
    executor = CudaInTorch(model, torch.float32)
    context = executor.encode(sources)
    stays, leaves = (Rule.adaptive(Classifier(), at, Decay("none"), min_layer=2) for at in (2.0, -1.0))
    executor.run(context, [stays, leaves], LENGTH)
    assert executor._session is not None
    likely = executor._session._likely
    assert likely[stays][2] > session.WORTH_IT
    assert likely[leaves][2] < 0.5 == likely[leaves][3]


def test_longer_texts_and_sources_get_larger_buffers() -> None:
    model, rules = random_t5(4, depth=2), [Rule.adaptive(Softmax(), 0.2, Decay("none"))]
    executor = CudaInTorch(model, torch.float32)
    room = []
    for length, positions in ((5, 8), (520, 130), (3, 9)):
        source = [[*torch.randint(2, 100, (length,)).tolist(), 1]]
        generations = executor.run(executor.encode(source), rules, positions)
        assert compare(model, generations, source, rules, positions) == 0
        assert executor._session is not None
        room.append((executor._session.positions, executor._session.source_positions))
    assert room == [(128, 512), (256, 1_024), (256, 1_024)]


def test_weights_read_are_counted() -> None:
    model, source = random_t5(depth=3), [[5, 6, 1]]
    executor = CudaInTorch(model, torch.float32)
    context = executor.encode(source)
    layer = 4 * (32 * (3 + 3) * 32 + 3 * 32 * 48)  # qkv, two outputs and a query; a gated feed-forward block
    head = 4 * 32 * 120
    ask_thrice = Rule.adaptive(Softmax(), 2.0, Decay("none"))
    on = Rule.adaptive(Classifier(), -1.0, Decay("none"), state_copying="true_state")
    for rule, layers, heads in ((Rule.static(2), 2, 1), (Rule.oracle(), 3, 3), (ask_thrice, 3, 3), (on, 3, 1)):
        before = executor.weight_bytes
        executor.run(context, [rule], 1)
        assert executor.weight_bytes - before == layers * layer + heads * head


def test_nan_is_refused_with_layer_and_position() -> None:
    model = random_t5()
    with torch.no_grad():
        model.backbone.decoder.block[1].layer[-1].DenseReluDense.wo.weight[0] = float("nan")
    executor = CudaInTorch(model, torch.float32)
    context = executor.encode(random_sources(1, 1))
    with pytest.raises(FloatingPointError, match="state is NaN at layer 4, position 0"):
        executor.run(context, [Rule.full()], 4)
    with pytest.raises(FloatingPointError, match="confidence of state is NaN at layer 2, position 0"):
        executor.run(context, [Rule.adaptive(State(), 0.9, Decay("none"))], 4)
