"""bfloat16 weights, keys and values: an approximation, so its distance from float32 is measured here, not assumed."""

import dataclasses

import numpy as np
import torch

from calm_bench.decoding import Decay, Rule, decode
from calm_bench.decoding.encoder import encode
from calm_bench.decoding.weights import FusedT5
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import MEASURES
from tests.models_for_tests import random_sources, random_t5


def in_bfloat16(model: EarlyExitT5) -> EarlyExitT5:
    return dataclasses.replace(model, dtype=torch.bfloat16)


def test_weights_keys_and_values_are_held_in_bfloat16_and_activations_are_not() -> None:
    weights = FusedT5(in_bfloat16(random_t5()))
    layer = weights.decoder_layers[0]
    held = [weights.embedding, weights.head_weight, weights._stacked_keys_values, weights.cross_keys_values]
    held += [layer.qkv, layer.out, layer.cross_query, layer.cross_out, layer.feed_forward.wi, layer.feed_forward.wo]
    assert {tensor.dtype for tensor in held} == {torch.bfloat16}
    assert encode(weights, [[5, 1]]).keys_values.dtype == torch.bfloat16
    assert weights.embed(torch.tensor([3])).dtype == torch.float32
    assert weights.head(torch.randn(1, weights.d_model)).dtype == torch.float32


def test_bfloat16_is_float32_with_rounded_weights_keys_and_values() -> None:
    """With weights that bfloat16 holds exactly, one step differs by the rounding of keys and values alone."""
    model = random_t5()
    for name, parameter in model.backbone.named_parameters():
        parameter.data = torch.ones_like(parameter) if "norm" in name else parameter.data.bfloat16().float()
    sources = random_sources(0, 4)
    exact, rounded = (
        decode(which, sources, [Rule.adaptive(MEASURES[2], 0.3, Decay("none"))], 1)
        for which in (model, in_bfloat16(model))
    )
    np.testing.assert_allclose(rounded.confidences, exact.confidences, atol=0.01)


def test_disagreement_with_float32() -> None:
    """Texts part for good at their first different token, so only tokens up to there are compared."""
    same = compared = 0
    rules = [Rule.full(), *(Rule.adaptive(measure, 0.4, Decay("none")) for measure in MEASURES)]
    for seed in range(6):
        model = random_t5(seed)
        sources = random_sources(seed, 6)
        exact, rounded = decode(model, sources, rules, 12), decode(in_bfloat16(model), sources, rules, 12)
        differ = (exact.token_ids != rounded.token_ids) | (exact.exit_layers != rounded.exit_layers)
        before = np.cumsum(differ, -1) - differ == 0
        known = before & (exact.exit_layers > 0)
        compared += int(known.sum())
        same += int((known & ~differ).sum())
    share = same / compared
    print(f"bfloat16 weights: {share:.1%} of {compared} tokens and exit layers are those of float32")
    assert share > 0.93
