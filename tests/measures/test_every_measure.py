"""Every measure in conf/measure, found by its existing."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from calm_bench import compose as composing
from calm_bench.build import build
from calm_bench.cost.flops import Shape, elbayad, t5
from calm_bench.decoding import Decay, Rule, decode
from calm_bench.measures import Measure, Visit
from tests.decoding.conftest import compare
from tests.models_for_tests import random_sources, random_t5

FILES = sorted((composing.config_dir() / "measure").glob("*.yaml"))
SHAPE = Shape(layers=8, d_model=512, d_attention=384, d_ff=1024, gated=True, vocab=32128, d_encoder=512)
torch.set_num_threads(1)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def measure(request: pytest.FixtureRequest) -> Measure:
    return build(OmegaConf.load(request.param), Measure)


def visit_of(measure: Measure, layer: int, model_seed: int = 0) -> Visit:
    model = random_t5(model_seed)
    torch.manual_seed(layer)
    state, previous = torch.randn(2, 50, 32) * torch.logspace(-3, 3, 50)[:, None]
    visit = Visit(layer, state, previous, model.head, model.learned)
    return replace(visit, memory=measure.remember(visit)) if measure.remembers(layer) else visit


def test_it_is_registered_under_its_own_name(measure: Measure) -> None:
    text = (composing.config_dir() / "measure" / f"{measure.name}.yaml").read_text()
    assert text.startswith(f"# @package measure.{measure.name}\n")
    assert inspect.getdoc(type(measure))


def test_confidences_lie_in_their_range(measure: Measure) -> None:
    for seed in range(3):
        visit = visit_of(measure, 3, seed)
        with torch.inference_mode():
            confidence = measure.confidence(visit)
        assert confidence.shape == (50,)
        low = -1 if measure.name == "state" else 0  # a cosine may be negative: no threshold in (0, 1] is met
        assert low - 1e-6 <= confidence.min().item() <= confidence.max().item() <= 1 + 1e-6


def test_a_row_is_judged_alone(measure: Measure) -> None:
    visit = visit_of(measure, 3)
    together = measure.confidence(visit)
    rows = ("state", "previous", "memory")
    for row in (0, 17, 49):
        parts = {name: value[row : row + 1] for name in rows if (value := getattr(visit, name)) is not None}
        alone = measure.confidence(replace(visit, **parts))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-5)


def test_decoding_by_it_is_the_reference(measure: Measure) -> None:
    model, sources = random_t5(4), random_sources(3, 3)
    decay = Decay("additive", 4.0)
    rules = [Rule.adaptive(measure, value, decay, layer) for value in (0.9, 0.5, 0.2, 0.01) for layer in (1, 3)]
    generations = decode(model, sources, rules, 8)
    assert compare(model, generations, sources, rules, 8) == 0
    layers = generations.exit_layers[generations.exit_layers > 0]
    assert layers.min() >= measure.first_layer
    assert len(np.unique(layers)) > 1


def test_its_cost_is_counted(measure: Measure) -> None:
    """Asking costs something, and at most a head and a half for each layer asked."""
    for count in (elbayad, t5):
        free, cost = count([4, 8, 4], 20, SHAPE, "oracle"), count([4, 8, 4], 20, SHAPE, measure)
        assert free < cost < free + 1.5 * 2 * SHAPE.vocab * SHAPE.d_model * 16
    if measure.name in ("softmax", "state", "classifier"):  # the paper's are known by their names too
        assert elbayad([3, 8], 5, SHAPE, measure) == elbayad([3, 8], 5, SHAPE, measure.name)
        assert t5([3, 8], 5, SHAPE, measure) == t5([3, 8], 5, SHAPE, measure.name)
