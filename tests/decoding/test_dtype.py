"""bfloat16 weights, keys and values: an approximation, so its distance from float32 is measured here, not assumed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.decoding.encoder import encode
from calm_bench.decoding.layer import embed, head
from calm_bench.measures import Softmax
from calm_bench.models import EarlyExitT5
from calm_bench.stages.precision import float32_agreement
from tests.decoding.conftest import MEASURES
from tests.models_for_tests import random_sources, random_t5

DTYPES = ("float32", "bfloat16")


def test_weights_keys_and_values_are_held_in_bfloat16_and_activations_are_not() -> None:
    weights = random_t5().weights(torch.bfloat16)
    layer = weights.decoder_layers[0]
    held = [weights.embedding, weights.head, weights.self_keys_values, weights.cross_keys_values]
    held += [layer.qkv, layer.out, layer.cross_query, layer.cross_out, layer.feed_forward.wi, layer.feed_forward.wo]
    assert {tensor.dtype for tensor in held} == {torch.bfloat16}
    assert encode(weights, [[5, 1]]).keys_values.dtype == torch.bfloat16
    assert embed(weights, torch.tensor([3])).dtype == torch.float32
    assert head(weights, torch.randn(1, weights.d_model)).dtype == torch.float32


def test_bfloat16_is_float32_with_rounded_weights_keys_and_values() -> None:
    """With weights that bfloat16 holds exactly, one step differs by the rounding of keys and values alone."""
    model = random_t5()
    for name, parameter in model.backbone.named_parameters():
        parameter.data = torch.ones_like(parameter) if "norm" in name else parameter.data.bfloat16().float()
    sources = random_sources(0, 4)
    exact, rounded = (
        Decoder(model, dtype).decode(sources, [Rule.adaptive(MEASURES[2], 0.3, Decay("none"))], 1) for dtype in DTYPES
    )
    np.testing.assert_allclose(rounded.confidences, exact.confidences, atol=0.01)


def test_disagreement_with_float32() -> None:
    """Texts part for good at their first different token, so only tokens up to there are compared."""
    same = compared = 0
    rules = [Rule.full(), *(Rule.adaptive(measure, 0.4, Decay("none")) for measure in MEASURES)]
    for seed in range(6):
        model = random_t5(seed)
        sources = random_sources(seed, 6)
        exact, rounded = (Decoder(model, dtype).decode(sources, rules, 12) for dtype in DTYPES)
        differ = (exact.token_ids != rounded.token_ids) | (exact.exit_layers != rounded.exit_layers)
        before = np.cumsum(differ, -1) - differ == 0
        known = before & (exact.exit_layers > 0)
        compared += int(known.sum())
        same += int((known & ~differ).sum())
    share = same / compared
    print(f"bfloat16 weights: {share:.1%} of {compared} tokens and exit layers are those of float32")
    assert share > 0.93


def test_a_run_in_bfloat16_says_what_that_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of texts and exit layers that are float32's, counted one by one; nothing to say in float32."""
    monkeypatch.setattr(EarlyExitT5, "tokenize", lambda _model, texts, _limit: texts)
    model, sources = random_t5(5, depth=4), random_sources(9, 12)
    rules = [Rule.full(), *[Rule.adaptive(Softmax(), threshold, Decay("none")) for threshold in (0.05, 0.02, 0.01)]]
    task: Any = SimpleNamespace(max_source_tokens=99, max_new_tokens=10)
    examples: Any = [SimpleNamespace(source=source) for source in sources]
    assert float32_agreement(Decoder(model), task, examples, rules, 32) is None
    said = float32_agreement(Decoder(model, "bfloat16"), task, examples, rules, 32)
    assert said is not None

    same = exits = tokens = 0
    exact, held = (Decoder(model, dtype).decode(sources, rules, 10) for dtype in DTYPES)
    for e in range(12):
        for r in range(len(rules)):
            if (exact.token_ids[e, r] == held.token_ids[e, r]).all():
                length = int(exact.n_tokens[e, r])
                same, tokens = same + 1, tokens + length
                exits += int((exact.exit_layers[e, r, :length] == held.exit_layers[e, r, :length]).sum())
    assert said == {"n": 12, "texts": same / (12 * len(rules)), "exit_layers": exits / tokens}
    assert 0 < said["texts"] < 1  # on weights as random as these, rounding shows
