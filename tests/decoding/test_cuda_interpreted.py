"""The kernels by Triton's interpreter, on a CPU: the tokens and exit layers of the definition, on a small model."""

import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch where torch comes with CUDA")
if torch.cuda.is_available():
    pytest.skip("the kernels themselves run here, in test_cuda.py", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported

from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.cuda import executor as cuda_executor
from calm_bench.decoding.cuda.executor import Cuda
from calm_bench.measures import Classifier, Entropy, MaxProb, Softmax, State
from tests.decoding.conftest import compare
from tests.models_for_tests import random_sources, random_t5


@pytest.mark.slow
@pytest.mark.parametrize("gated", [True, False])
def test_interpreted_kernels_decode_what_the_definition_says(gated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_executor, "SHORTEST_SOURCE", 128)
    model = random_t5(6, encoder=1, depth=3, gated=gated, d_model=12)
    decay = Decay("additive", 4.0)
    rules = [Rule.full(), Rule.static(1), Rule.oracle(), Rule.adaptive(State(), 0.9, decay)]
    rules += [Rule.adaptive(measure, 0.2, decay) for measure in (Softmax(), MaxProb(), Entropy())]
    rules += [
        Rule.adaptive(Classifier(), 0.5, decay, state_copying=kind)
        for kind in ("exit_state", "first_state", "projected_kv", "true_state")
    ]
    sources = random_sources(3, 1)
    executor = Cuda(model, torch.float32)
    generations = executor.run(executor.encode(sources), rules, 3)
    assert compare(model, generations, sources, rules, 3) == 0
    assert len(set(generations.exit_layers[generations.exit_layers > 0].tolist())) > 1
