"""The kernels by Triton's interpreter, on a CPU: the tokens and exit layers of the definition, on a small model.

TRITON_INTERPRET=1 python -m pytest tests/decoding/test_cuda_interpreted.py
"""

import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch where torch comes with CUDA")
if torch.cuda.is_available():
    pytest.skip("the kernels themselves run here, in test_cuda.py", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("TRITON_INTERPRET=1 must be set before anything imports Triton", allow_module_level=True)

from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.cuda import executor as cuda_executor
from calm_bench.decoding.cuda.executor import Cuda, no_kernels
from calm_bench.decoding.state_copying import KINDS
from calm_bench.measures import Classifier, Entropy, MaxProb, MlpClassifier, Softmax, State
from tests.decoding.conftest import compare
from tests.models_for_tests import random_sources, random_t5

RULES = [
    Rule.oracle(),
    Rule.static(1),
    *(Rule.adaptive(measure, 0.2, Decay("additive", 4.0)) for measure in (Softmax(), MaxProb(), Entropy())),
    *(Rule.adaptive(measure, 0.5, Decay("none")) for measure in (State(), MlpClassifier(256))),
    *(Rule.adaptive(Classifier(), 0.5, Decay("none"), state_copying=kind) for kind in KINDS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("gated", "rules"), [(True, RULES), (False, RULES[:2])])
def test_interpreted_kernels_decode_what_the_definition_says(
    gated: bool, rules: list[Rule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_executor, "SHORTEST_SOURCE", 64)
    assert no_kernels("relu") is None
    model, sources = random_t5(6, encoder=1, depth=3, gated=gated, d_model=12), random_sources(3, 1)
    executor = Cuda(model, torch.float32)
    generations = executor.run(executor.encode(sources), rules, 3)
    assert compare(model, generations, sources, rules, 3) == 0
    assert len(set(generations.exit_layers[generations.exit_layers > 0].tolist())) > 1


@pytest.mark.slow
def test_nan_is_refused_with_layer_and_position() -> None:
    model = random_t5(6, encoder=1, depth=2, d_model=12)
    with torch.no_grad():
        model.backbone.decoder.block[0].layer[-1].DenseReluDense.wo.weight[0] = float("nan")
    executor = Cuda(model, torch.float32)
    context = executor.encode([[2, 1]])
    with pytest.raises(FloatingPointError, match="state is NaN at layer 1, position 0"):
        executor.run(context, [Rule.static(1)], 1)
    with pytest.raises(FloatingPointError, match="confidence of classifier is NaN at layer 1, position 0"):
        executor.run(context, [Rule.adaptive(Classifier(), 0.5, Decay("none"))], 1)
