"""The same tokens and exit layers on a GPU as the definition gives on the CPU, by the grid and by the CUDA executor."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import calm_bench
from calm_bench.choices import StateCopying
from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.decoding.cuda import executor as cuda_executor
from calm_bench.decoding.cuda.encoder import LONGEST
from calm_bench.decoding.cuda.executor import COPIED_BYTES, Cuda, no_kernels
from calm_bench.decoding.cuda.tiles import Shares, Tiles, block, power_of_two
from calm_bench.decoding.cuda.weight_rows import ACTIVATIONS, WeightRows
from calm_bench.decoding.encoder import encode
from calm_bench.decoding.reference import decode_reference
from calm_bench.measures import Classifier, Entropy, MaxProb, MlpClassifier, Softmax, SoftmaxTopk, State
from calm_bench.models import EarlyExitT5, load
from calm_bench.stages.arms import read_arm
from tests.decoding.conftest import assert_same, compare, every_rule
from tests.models_for_tests import random_sources, random_t5

ASSETS = Path(calm_bench.__file__).parent / "assets"


def on_gpu(model: EarlyExitT5) -> EarlyExitT5:
    """A copy of a model, on the GPU."""
    learned = {name: copy.deepcopy(module).to("cuda") for name, module in model.learned.items()}
    return EarlyExitT5(copy.deepcopy(model.backbone).to("cuda"), model.tokenizer, learned)


def copying_rules(kind: StateCopying) -> list[Rule]:
    """The oracle and each measure with a kernel, at thresholds that part tokens, with this kind of state copying."""
    decay = Decay("additive", 4.0)
    thresholds = (
        (State(), 0.9),
        (State(), 0.6),
        (Classifier(), 0.5),
        (MlpClassifier(256), 0.5),
        (Softmax(), 0.2),
        (MaxProb(), 0.2),
        (Entropy(), 0.3),
    )
    return [Rule.oracle(kind), *(Rule.adaptive(measure, at, decay, state_copying=kind) for measure, at in thresholds)]


@pytest.mark.gpu
@pytest.mark.parametrize(("executor", "batch_size"), [("grid", 1), ("grid", 4), ("cuda", 4)])
def test_a_gpu_decodes_what_the_definition_says(executor: str, batch_size: int) -> None:
    model = random_t5()
    sources, rules = random_sources(1, 3), every_rule(model.depth)
    generations = Decoder(on_gpu(model), executor=executor).decode(sources, rules, 8, batch_size=batch_size)
    assert compare(model, generations, sources, rules, 8) <= 2


@pytest.mark.gpu
def test_the_grid_parts_one_row_in_two() -> None:
    model, rules, sources = random_t5(), [Rule.full(), Rule.static(1)], random_sources(2, 1)
    generations = Decoder(on_gpu(model), executor="grid").decode(sources, rules, 6)
    assert compare(model, generations, sources, rules, 6) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["exit_state", "first_state", "projected_kv", "true_state"])
@pytest.mark.parametrize("shape", ["v1_1", "v1_0", "mt5"])
def test_shapes_and_kinds_of_state_copying(shape: str, kind: StateCopying) -> None:
    model = {
        "v1_1": lambda: random_t5(1),
        "v1_0": lambda: random_t5(2, gated=False, encoder=1, depth=6, d_model=48),
        "mt5": lambda: random_t5(3, mt5=True, encoder=3, depth=3, d_model=40),
    }[shape]()
    sources, rules = random_sources(5, 3), [Rule.full(), Rule.static(2), *copying_rules(kind)]
    executor = Cuda(on_gpu(model), torch.float32)
    generations = executor.run(executor.encode(sources), rules, 12)
    assert compare(model, generations, sources, rules, 12) <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_activation_has_its_kernel(activation: str) -> None:
    model = random_t5(7, encoder=1, depth=2, gated=activation != "relu", activation=activation)
    assert model.activation == activation
    sources, rules = random_sources(8, 2), [Rule.full(), Rule.adaptive(Classifier(), 0.5, Decay("none"))]
    executor = Cuda(on_gpu(model), torch.float32)
    assert compare(model, executor.run(executor.encode(sources), rules, 8), sources, rules, 8) == 0


@pytest.mark.gpu
def test_sources_of_any_length_share_the_encoders_memory() -> None:
    model = random_t5(4)
    executor, weights = Cuda(on_gpu(model), torch.float32), model.weights(torch.float32)
    lengths = (3, 40, 17, LONGEST, LONGEST + 1, 3, 41, 700, 16, LONGEST)
    sources = [[*np.random.default_rng(n).integers(2, 100, length - 1).tolist(), 1] for n, length in enumerate(lengths)]
    for source, found in zip(sources, executor.encode(sources), strict=True):
        expected = encode(weights, [source]).keys_values[:, :, 0]
        torch.testing.assert_close(found.cpu(), expected, atol=2e-5, rtol=2e-5)
    assert sorted(executor._encoder._graphs) == [16, 32, 48, LONGEST], "one graph a padded length, none beyond"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["exit_state", "first_state", "projected_kv", "true_state"])
def test_without_triton_torch_is_captured(kind: StateCopying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_executor, "find_spec", lambda name: None)
    model, sources = random_t5(6), random_sources(5, 3)
    rules = [Rule.full(), Rule.static(2), *copying_rules(kind)]
    executor = Cuda(on_gpu(model), torch.float32)
    generations = executor.run(executor.encode(sources), rules, 12)
    assert compare(model, generations, sources, rules, 12) <= 1


@pytest.mark.gpu
def test_a_rule_first_used_after_others_has_graphs_of_its_own() -> None:
    model, sources = random_t5(), random_sources(3, 2)
    executor, decay = Cuda(on_gpu(model), torch.float32), Decay("none")
    context = executor.encode(sources)
    rules = [Rule.adaptive(State(), 0.8, decay), Rule.static(2), Rule.adaptive(State(), 0.8, decay, min_layer=3)]
    for rule in (*rules, *reversed(rules)):  # captured in between, and used again
        assert compare(model, executor.run(context, [rule], 10), sources, [rule], 10) == 0


@pytest.mark.gpu
def test_weights_read_are_counted_beside_the_cards_own_copies() -> None:
    model, source = random_t5(depth=3), [[5, 6, 1]]
    executor = Cuda(on_gpu(model), torch.float32)
    context, layer, head = executor.encode(source), 4 * (32 * (3 + 3) * 32 + 3 * 32 * 48), 4 * 32 * 120
    assert executor.weight_bytes == executor._encoder.weight_bytes > 0
    never = Rule.adaptive(Softmax(), 2.0, Decay("none"))
    for rule, layers, heads in ((Rule.static(2), 2, 1), (Rule.oracle(), 3, 3), (never, 3, 3)):
        before = executor.weight_bytes
        executor.run(context, [rule], 1)
        assert executor.weight_bytes - before == layers * layer + heads * head
    assert executor.read_weights() == 2 * COPIED_BYTES
    arm = read_arm(executor, torch.device("cuda"))
    assert arm is not None
    assert arm.run(source[0]).weight_bytes == 2 * COPIED_BYTES


@pytest.mark.gpu
def test_bfloat16_weights_give_nearly_the_texts_of_float32() -> None:
    model = load(str(ASSETS / "model"), device="cuda")
    sentences = pd.read_parquet(ASSETS / "data/tatoeba_enfr/test.parquet")["translation"][:20]
    sources = model.tokenize([f"translate English to French: {pair['en']}" for pair in sentences])
    rules = [Rule.full(), Rule.static(3), Rule.adaptive(State(), 0.9, Decay("none"))]
    held = [Decoder(model, dtype, "cuda").decode(sources, rules, 48) for dtype in ("bfloat16", "float32")]
    grid = Decoder(model, "bfloat16", "grid").decode(sources, rules, 48)
    for other in (held[1], grid):
        same = (held[0].token_ids == other.token_ids).all(-1)
        assert same.mean() > 0.8, f"{same.sum()} of {same.size} texts"


@pytest.mark.gpu
def test_longer_texts_and_sources_get_larger_buffers() -> None:
    model = random_t5(4)
    executor = Cuda(on_gpu(model), torch.float32)
    rules = [Rule.full(), Rule.adaptive(Softmax(), 0.2, Decay("none"))]
    for length, positions in ((5, 8), (700, 140), (2_000, 10), (3, 280)):
        source = [[*np.random.default_rng(length).integers(2, 100, length).tolist(), 1]]
        generations = executor.run(executor.encode(source), rules, positions)
        assert compare(model, generations, source, rules, positions) == 0


@pytest.mark.gpu
@pytest.mark.slow
def test_the_bundled_model_under_67_rules() -> None:
    sentences = pd.read_parquet(ASSETS / "data/tatoeba_enfr/test.parquet")["translation"]
    model, gpu = load(str(ASSETS / "model")), load(str(ASSETS / "model"), device="cuda")
    prompts = [f"translate English to French: {pair['en']}" for pair in sentences.sample(40, random_state=0)]
    sources = model.tokenize(prompts)
    rules = [Rule.full(), Rule.oracle(), *(Rule.static(layer) for layer in range(1, model.depth + 1))]
    for measure, tau in ((Softmax(), 4.0), (State(), 0.0), (Classifier(), 4.0)):
        rules += [Rule.adaptive(measure, step / 20, Decay("additive", tau)) for step in range(1, 20)]
    ours = Decoder(gpu, executor="cuda").decode(sources, rules, 48)
    grids = Decoder(model).decode(sources, rules, 48)
    np.testing.assert_array_equal(ours.token_ids, grids.token_ids)
    np.testing.assert_array_equal(ours.exit_layers, grids.exit_layers)
    for rule in (0, 1, 20, 40, 60):
        reference = decode_reference(model, sources[0], rules[rule], 48)
        assert assert_same(ours, 0, rule, rules[rule], reference, 48) == 0


@pytest.mark.gpu
def test_a_state_that_is_nan_is_refused_with_layer_and_position() -> None:
    model = on_gpu(random_t5())
    with torch.no_grad():
        model.backbone.decoder.block[1].layer[-1].DenseReluDense.wo.weight[0] = float("nan")
    executor = Cuda(model, torch.float32)
    context = executor.encode(random_sources(1, 1))
    with pytest.raises(FloatingPointError, match="state is NaN at layer 4, position 0"):
        executor.run(context, [Rule.full()], 4)
    with pytest.raises(FloatingPointError, match="confidence of state is NaN at layer 2, position 0"):
        executor.run(context, [Rule.adaptive(State(), 0.9, Decay("none"))], 4)


def test_rules_without_a_kernel_are_refused_with_a_word() -> None:
    executor = Cuda(random_t5(), torch.float32)
    assert executor.refuses(Rule.adaptive(State(), 0.5, Decay("none"))) is None
    assert executor.refuses(Rule.oracle()) is None
    refusal = executor.refuses(Rule.adaptive(SoftmaxTopk(k=4, layer=1), 0.5, Decay("none")))
    assert refusal == "it has no kernel for the measure softmax_topk"


def test_a_model_on_the_cpu_is_refused_with_a_word() -> None:
    assert Cuda.unavailable(random_t5(), torch.float32) == "it needs an NVIDIA GPU, and the model is on cpu"


def test_what_kernels_miss_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cuda_executor, "PYTHON_HEADER", tmp_path)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(cuda_executor, "which", lambda name: name)
    monkeypatch.setattr(cuda_executor, "find_spec", lambda name: None)
    assert no_kernels("relu") == "triton is not installed"
    monkeypatch.setattr(cuda_executor, "find_spec", lambda name: name)
    assert no_kernels("relu") is None
    assert no_kernels("tanh") == "none is written for the activation tanh"
    monkeypatch.setattr(cuda_executor, "which", lambda name: None)
    assert no_kernels("relu") == "triton needs a C compiler and Python's header files"
    monkeypatch.setenv("CC", "cc")
    assert no_kernels("relu") is None


def test_tiles_cover_every_position_and_every_token_of_the_vocabulary() -> None:
    rows = WeightRows(random_t5().weights(torch.float32), "gelu_new")
    for positions, source_positions in ((128, 512), (512, 2_048), (1_024, 64)):
        tiles = Tiles(rows, positions, source_positions)
        assert tiles.text.count * tiles.text.tile == positions
        assert tiles.source.count * tiles.source.tile == source_positions
        assert tiles.head_programs * tiles.head_repeats * tiles.head.rows >= len(rows.head)
    assert Shares.of(2_048, tile=64) == Shares(16, 128)
    for columns in (512, 1_024, 2_048, 8_192, 65_536):
        assert block(columns).rows * columns <= 128 * 32 * block(columns).warps
    assert [power_of_two(n) for n in (1, 2, 3, 512, 513)] == [1, 2, 4, 512, 1_024]
