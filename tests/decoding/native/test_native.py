"""What the native executor does beyond the equality tests, which it takes with the others."""

import platform
import resource
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.decoding.grid import Grid
from calm_bench.decoding.native.weights import FLOAT16
from calm_bench.measures import Classifier, Entropy, Measure, Softmax, SoftmaxTopk, State, Visit
from calm_bench.models import load
from tests.decoding.conftest import compare
from tests.decoding.native.conftest import native, rules_of_all_kinds, texts
from tests.models_for_tests import VOCAB, random_sources, random_t5

LENGTH = 12
SHAPES = {
    "v1.1": {},
    "v1.0": {"gated": False, "depth": 3, "encoder": 5},
    "mt5": {"mt5": True},
    "no multiple of 32": {"d_model": 50, "depth": 6, "encoder": 1},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("preview", [True, False], ids=["preview", "whole head"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_kinds_of_rules_in_all_shapes(shape: str, preview: bool, dtype: torch.dtype) -> None:
    """The texts of the grid, which the equality tests hold to the reference."""
    model = random_t5(3, **SHAPES[shape])  # type: ignore[arg-type]
    sources, rules = random_sources(1, 3), rules_of_all_kinds(model.depth)
    grid = Grid(model, dtype)
    expected = grid.run(grid.encode(sources), rules, LENGTH)
    found = texts(native(model, dtype, preview=preview), sources, rules, LENGTH)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)
    close = 2e-3 if preview else 1e-4 if dtype is torch.bfloat16 else 1e-5
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=close, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_float16_holds_is_read_from_it(shape: str) -> None:
    """The texts of float32, from half the bytes: a checkpoint that was kept in float16 has lost nothing since."""
    model = random_t5(3, **SHAPES[shape])  # type: ignore[arg-type]
    sources, rules = random_sources(1, 3), rules_of_all_kinds(model.depth)
    whole = native(model)
    texts(whole, sources, rules, LENGTH)
    for module in (model.backbone, *model.learned.values()):
        module.half().float()
    half = native(model)
    if not half._library.reads_float16():
        pytest.skip("this processor has no instruction that reads float16")
    grid = Grid(model, torch.float32)
    expected = grid.run(grid.encode(sources), rules, LENGTH)
    found = texts(half, sources, rules, LENGTH)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=2e-3, rtol=0)
    assert half._weights.layer_bytes == whole._weights.layer_bytes / 2
    assert half._weights.probes("mlp_classifier")[0].hidden.type == FLOAT16


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_preview_is_exact_where_it_must_guess(scale: float) -> None:
    """Heads that int8 cannot tell apart: rows in near copies, so that all depends on the exact logits."""
    model = random_t5(5)
    head = model.backbone.lm_head.weight.data
    head[1::2] = head[::2] * (1 + 1e-4)
    head *= scale
    sources = random_sources(2, 8)
    rules = [Rule.adaptive(Softmax(), 10.0**-t, Decay("none")) for t in range(10)]
    rules += [Rule.full(), Rule.oracle()]
    seen, exact = native(model), native(model, preview=False)
    found, expected = texts(seen, sources, rules, LENGTH), texts(exact, sources, rules, LENGTH)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)
    assert seen.rescored > seen.heads  # the test has power: more than one token could be the best
    assert len(set(expected.exit_layers[:, :10].ravel())) > 2


def test_the_preview_saves_the_whole_head() -> None:
    model = load("calm_bench/assets/model")
    executor = native(model)
    source = model.tokenize(["translate English to French: I love my dog very much."])
    texts(executor, source, [Rule.adaptive(Softmax(), t, Decay("additive", 4.0)) for t in (0.9, 0.8, 0.5)], 32)
    vocabulary = 4096
    assert executor.rescored < 0.02 * vocabulary * executor.heads
    assert executor.narrowed < 0.1 * executor.heads


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1024])
def test_sources_of_any_length(length: int) -> None:
    model = random_t5(1)
    source = [*(3 + index % 100 for index in range(length - 1)), 1]
    rules = [Rule.full(), Rule.adaptive(Softmax(), 0.3, Decay("none"))]
    compare(model, texts(native(model), [source], rules, 4), [source], rules, 4)


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    """C would read past the embedding."""
    executor = native(random_t5())
    for token in (-1, VOCAB):
        with pytest.raises(IndexError, match=f"the model knows 0 to {VOCAB - 1}"):
            executor.encode([[5, token, 1]])


def test_texts_that_are_longer_than_a_panel() -> None:
    model = random_t5(2)
    model.backbone.lm_head.weight.data[1] = 0  # end-of-sequence is never the best
    rules = [Rule.full(), Rule.adaptive(Softmax(), 0.3, Decay("additive", 4.0))]
    grid = Grid(model, torch.float32)
    expected = grid.run(grid.encode([[5, 1]]), rules, 150)
    found = texts(native(model), [[5, 1]], rules, 150)
    assert (found.n_tokens == 150).all()
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)


def test_every_end_token_ends_a_text() -> None:
    model = random_t5(1)
    model.backbone.lm_head.weight.data[1] = 0
    sources = random_sources(0, 4)
    endless = texts(native(model), sources, [Rule.full()], LENGTH)
    ends = endless.token_ids[:, 0, 2]
    model.tokens = type(model.tokens)(model.tokens.start, model.tokens.pad, (1, *map(int, ends)))
    ended = texts(native(model), sources, [Rule.full()], LENGTH)
    assert (ended.n_tokens <= 3).all()
    for text in range(4):
        n = int(ended.n_tokens[text, 0])
        assert ended.token_ids[text, 0, n - 1] in ends
        np.testing.assert_array_equal(ended.token_ids[text, 0, :n], endless.token_ids[text, 0, :n])


def test_a_text_does_not_depend_on_those_before() -> None:
    """The buffers are shared: whatever an earlier text or a NaN has left in them must not matter."""
    model, broken = random_t5(1), random_t5(1)
    sources, rules = random_sources(3, 3, longest=30), rules_of_all_kinds(model.depth)
    fresh, used = native(model), native(model)
    used._buffers = np.full(1 << 22, 0xFF, np.uint8)  # NaN in every float
    expected, found = texts(fresh, sources, rules, LENGTH), texts(used, sources, rules, LENGTH)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)
    np.testing.assert_array_equal(found.confidences, expected.confidences)
    broken.backbone.decoder.block[2].layer[2].DenseReluDense.wo.weight.data[:] = torch.nan
    executor = native(broken)
    with pytest.raises(FloatingPointError, match="NaN at layer 3, position 0"):
        texts(executor, sources, [Rule.static(3)], LENGTH)
    below = texts(executor, sources, [Rule.static(2)], LENGTH)
    np.testing.assert_array_equal(below.token_ids, texts(fresh, sources, [Rule.static(2)], LENGTH).token_ids)


class Mine(Entropy):
    """A measure from outside, which must not be taken for the one it stands on."""

    def confidence(self, visit: Visit) -> torch.Tensor:
        return 1 - super().confidence(visit)


def test_a_measure_in_python_goes_to_the_grid(caplog: pytest.LogCaptureFixture) -> None:
    model = random_t5()
    rule = Rule.adaptive(Mine(), 0.5, Decay("none"))
    executor = native(model)
    assert "measure entropy" in str(executor.refuses(rule))
    decoder = Decoder(model, executor="native")
    with caplog.at_level("INFO"):
        assert [decoder.serving(rule).name, decoder.serving(Rule.full()).name] == ["grid", "native"]
    assert "no code for the measure entropy" in caplog.text


@pytest.mark.parametrize("measure", [Softmax(), SoftmaxTopk(k=10**6, layer=1)])
def test_a_set_may_hold_the_whole_vocabulary(measure: Measure) -> None:
    model, sources = random_t5(), random_sources(0, 4)
    rules = [Rule.adaptive(measure, 0.2, Decay("none"))]
    compare(model, texts(native(model), sources, rules, LENGTH), sources, rules, LENGTH)


def test_int8_is_another_model() -> None:
    """It runs, and its texts are its own: nothing takes it for float32."""
    model, sources = random_t5(1), random_sources(0, 6)
    exact, rounded = (texts(native(model, int8=int8), sources, [Rule.full()], LENGTH) for int8 in (False, True))
    assert (rounded.n_tokens > 0).all()
    assert (rounded.token_ids == exact.token_ids).mean() > 0.5


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86-64")
@pytest.mark.parametrize(
    "flags", [("-mavx2", "-mfma"), ("-mavx2", "-mfma", "-mf16c"), ("-march=x86-64",)], ids=["avx2", "f16c", "sse2"]
)
def test_narrower_vectors(flags: tuple[str, ...], compiled_with: Callable[..., None]) -> None:
    compiled_with(*flags)
    model, sources = random_t5(2, encoder=3), random_sources(4, 3)
    model.backbone.half().float()
    rules = rules_of_all_kinds(model.depth)
    for dtype in (torch.float32, torch.bfloat16):
        grid = Grid(model, dtype)
        expected = grid.run(grid.encode(sources), rules, LENGTH)
        found = texts(native(model, dtype), sources, rules, LENGTH)
        np.testing.assert_array_equal(found.token_ids, expected.token_ids)
        np.testing.assert_array_equal(found.exit_layers, expected.exit_layers)


def test_ten_thousand_texts_leave_nothing_behind() -> None:
    model, sources = random_t5(encoder=1, depth=2), random_sources(0, 100)
    executor, rules = native(model), [Rule.adaptive(Softmax(), 0.3, Decay("none"))]

    def peak() -> int:  # bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    texts(executor, sources, rules, LENGTH)
    before = peak()
    for _ in range(100):
        texts(executor, sources, rules, LENGTH)
    assert peak() - before < 2 << 20  # 200 bytes a text would show


@pytest.mark.slow
def test_every_rule_of_the_demo_on_150_sentences() -> None:
    model = load("calm_bench/assets/model")
    table = pd.read_parquet("calm_bench/assets/data/tatoeba_enfr/test.parquet")
    sources = model.tokenize([f"translate English to French: {pair['en']}" for pair in table["translation"][:150]], 64)
    thresholds = [round(0.05 * step, 2) for step in range(1, 21)]
    measures: list[Measure] = [Softmax(), State(), Classifier(), SoftmaxTopk(k=64, layer=1)]
    rules = [Rule.full(), Rule.oracle(), *(Rule.static(layer) for layer in range(1, model.depth))]
    rules += [Rule.adaptive(measure, t, Decay("additive", 4.0)) for measure in measures for t in thresholds]
    expected = Decoder(model, executor="grid").decode(sources, rules, 64)
    found = texts(native(model), sources, rules, 64)
    differing = np.argwhere((found.exit_layers != expected.exit_layers) | (found.token_ids != expected.token_ids))
    apart = {(e, r): t for e, r, t in differing[::-1].tolist()}  # of each text that differs, the first position
    for (e, r), t in apart.items():  # only where a confidence lies on its threshold
        left = [g.confidences[e, r, t] for g in (found, expected)]
        threshold = rules[r].threshold_at(t, 64)
        assert min(abs(c - threshold) for c in left if not np.isnan(c)) < 1e-5, (rules[r], e, t, left)
    assert len(apart) < 1e-4 * found.n_tokens.size
