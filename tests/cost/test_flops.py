"""FLOPs by formula: the published column, hand counts, and the products that a real T5 decoder makes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.cost.flops import MEASURES, Drafts, Shape, elbayad, t5
from calm_bench.errors import InputError

SMALL = Shape(layers=8, d_model=512, d_attention=384, d_ff=1024, gated=True, vocab=32128, d_encoder=512)
TINY = Shape(layers=3, d_model=2, d_attention=3, d_ff=5, gated=True, vocab=7, d_encoder=11)


def layers_with_mean(mean: float, n_tokens: int) -> np.ndarray:
    """Exit layers of n_tokens, in two neighbouring values, alternating evenly, whose mean is nearest to `mean`."""
    return np.diff(np.round(mean * np.arange(n_tokens + 1))).astype(int)


@pytest.mark.parametrize(
    ("measure", "mean_layers", "published"),
    [
        ("classifier", 7.16, 1.03),
        ("classifier", 4.51, 1.15),
        ("classifier", 6.49, 1.06),
        ("classifier", 2.30, 1.25),
        ("state", 8.00, 1.00),
        ("state", 7.97, 1.00),
        ("state", 5.22, 1.11),
    ],
)
def test_published_cnndm_column(measure: str, mean_layers: float, published: float) -> None:
    """CALM Table 2: 82 tokens (Table 1), a source of about 800 tokens, encoder K and V projected by all layers."""
    layers = layers_with_mean(mean_layers, 82)
    unvisited = (8 - layers.max()) * 4 * 800 * SMALL.d_model * SMALL.d_encoder
    early, full = elbayad(layers, 800, SMALL, measure), elbayad(np.full(82, 8), 800, SMALL, "full")
    assert full / (early + unvisited) == pytest.approx(published, abs=0.02)


def test_projected_by_visited_layers_alone_the_published_column_would_be_another() -> None:
    early, full = layers_with_mean(4.51, 82), np.full(82, 8)
    visited = elbayad(full, 800, SMALL, "full") / elbayad(early, 800, SMALL, "classifier")
    assert visited > 1.15 + 0.2


# d=2, d_e=11, d_f=5, V=7, |x|=4: a layer costs 48 + 40 + 8t + 32 = 120 + 8t, skipped 16, head 28, cross 352 a layer.
# Exits at 2 then 1 of 3: visited 2(128) + 1(136) = 392, skipped 16 + 2(16) = 48, heads 2(28) = 56.
@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("oracle", 392 + 48 + 56),
        ("classifier", 392 + 48 + 56 + 4 * 3),
        ("state", 392 + 48 + 56 + 8 * 3),
        ("softmax", 392 + 48 + 28 * 3),
    ],
)
def test_elbayad_by_hand(measure: str, expected: int) -> None:
    assert elbayad([2, 1], 4, TINY, measure) == expected + 2 * 352


# a=3, gated: a layer costs 48 + 12t + 24 + 48 + 60 = 180 + 12t, skipped 24, head 28, cross 4*4*3*11 = 528 a layer.
# Exits at 3 then 1 of 3: visited 3(192) + 1(204) = 780, skipped 2(24) = 48; decisions at layers 1, 2 and 1: three.
@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("oracle", 780 + 48 + 56),
        ("classifier", 780 + 48 + 56 + 4 * 3),
        ("state", 780 + 48 + 56 + 8 * 3),
        ("softmax", 780 + 48 + 28 * 4),
    ],
)
def test_t5_by_hand(measure: str, expected: int) -> None:
    assert t5([3, 1], 4, TINY, measure) == expected + 3 * 528


def test_static_is_a_shallower_model() -> None:
    shallow = Shape(layers=2, d_model=2, d_attention=3, d_ff=5, gated=True, vocab=7, d_encoder=11)
    for count in (elbayad, t5):
        assert count([2, 2, 2], 4, TINY, "static") == count([2, 2, 2], 4, shallow, "full")


def test_full_and_oracle_at_the_last_layer_agree() -> None:
    for count in (elbayad, t5):
        assert count([3, 3], 4, TINY, "full") == count([3, 3], 4, TINY, "oracle") == count([3, 3], 4, TINY, "static")


def test_both_counts_agree_where_the_papers_assumptions_hold() -> None:
    plain = Shape(layers=8, d_model=64, d_attention=64, d_ff=256, gated=False, vocab=100, d_encoder=64)
    early = [3, 8, 1, 5]
    assert t5(early, 9, plain, "oracle") == elbayad(early, 9, plain, "oracle")
    assert t5(early, 9, plain, "softmax") == elbayad(early, 9, plain, "softmax")


@pytest.mark.parametrize("gated", [True, False])
def test_t5_counts_what_a_real_decoder_multiplies(gated: bool) -> None:
    """Greedy steps of a transformers T5 with its cache, every product counted by torch."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    config = transformers.T5Config(
        vocab_size=50,
        d_model=16,
        d_kv=4,
        num_heads=3,
        d_ff=20,
        num_layers=1,
        num_decoder_layers=3,
        feed_forward_proj="gated-gelu" if gated else "relu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    config._attn_implementation = "eager"
    model = transformers.T5ForConditionalGeneration(config).eval()
    source = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.randn(1, 6, 16))
    cache, token = None, torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for _ in range(5):
            step = model(encoder_outputs=source, decoder_input_ids=token, past_key_values=cache, use_cache=True)
            cache, token = step.past_key_values, step.logits.argmax(-1)

    shape = Shape(layers=3, d_model=16, d_attention=12, d_ff=20, gated=gated, vocab=50, d_encoder=16)
    assert t5([3] * 5, 6, shape, "full") == counter.get_total_flops()


exits = st.lists(st.integers(1, 8), min_size=1, max_size=12)


@given(exits, st.integers(1, 900), st.sampled_from(["softmax", "state", "classifier", "oracle"]), st.data())
def test_a_later_exit_costs_more(layers: list[int], source_length: int, measure: str, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(layers) - 1))
    later = layers.copy()
    later[token] = min(8, later[token] + 1)
    for count in (elbayad, t5):
        before, after = count(layers, source_length, SMALL, measure), count(later, source_length, SMALL, measure)
        assert (after > before) if later != layers else (after == before)


@given(exits, st.integers(1, 900))
def test_hindsight_is_free(layers: list[int], source_length: int) -> None:
    for count in (elbayad, t5):
        oracle = count(layers, source_length, SMALL, "oracle")
        assert all(count(layers, source_length, SMALL, m) >= oracle for m in ("softmax", "state", "classifier"))


@pytest.mark.parametrize("count", [elbayad, t5])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 4, TINY, "softmax"), "exit_layers"),
        (([[1, 2]], 4, TINY, "softmax"), "exit_layers"),
        (([1.5], 4, TINY, "softmax"), "exit_layers"),
        (([0, 1], 4, TINY, "softmax"), r"0\.\.1: must be in 1\.\.3"),
        (([1, 4], 4, TINY, "softmax"), r"1\.\.4: must be in 1\.\.3"),
        (([1, 2], 0, TINY, "softmax"), "source_length=0"),
        (([1, 2], 4, TINY, "meta"), "measure='meta': must be one of softmax"),
        (([1, 2], 4, TINY, "static"), "static exit has one layer"),
        (([3, 2], 4, TINY, "full"), "full model runs all 3"),
    ],
)
def test_refuses(count, arguments, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        count(*arguments)


def test_refuses_an_empty_shape() -> None:
    with pytest.raises(InputError, match=r"shape\.d_ff=0"):
        Shape(layers=3, d_model=2, d_attention=3, d_ff=0, gated=False, vocab=7, d_encoder=11)


def test_every_measure_is_counted() -> None:
    for measure in MEASURES:
        assert elbayad([3, 3], 4, TINY, measure) > 0
        assert t5([3, 3], 4, TINY, measure) > 0


def test_drafts_are_run_to_the_end_kept_or_not() -> None:
    """Two rounds of two drafts for four tokens: six tokens of the full model, and a head for each of four drafts."""
    shape = Shape(layers=8, d_model=4, d_attention=4, d_ff=8, gated=True, vocab=100, d_encoder=4)
    for count in (t5, elbayad):
        full = count([8] * 4, 3, shape, "full")
        assert count([1, 1, 8, 8], 3, shape, Drafts(1, 2)) == pytest.approx(6 / 4 * full + 4 * 2 * 100 * 4)
