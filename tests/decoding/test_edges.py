"""Texts and models at the edges of what is allowed."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from calm_bench.decoding import Decay, Rule
from calm_bench.decoding.reference import decode_reference
from calm_bench.errors import InputError
from calm_bench.measures import Classifier, Softmax, State
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import Decode, compare, every_rule
from tests.models_for_tests import random_sources, random_t5


def test_the_full_model_is_not_threshold_one(decode: Decode) -> None:
    """A softmax gap can round to 1.0, so threshold 1 may be passed; the full model may not."""
    model = random_t5()
    model.backbone.lm_head.weight.data *= 1e4
    sources = random_sources(0, 3)
    rules = [Rule.full(), Rule.adaptive(Softmax(), 1.0, Decay("none"))]
    generations = decode(model, sources, rules, 8)
    assert (generations.exit_layers[:, 1] == 1).any()
    assert set(generations.exit_layers[:, 0].ravel().tolist()) <= {0, model.depth}


@cache
def ending_at_once(source: tuple[int, ...]) -> EarlyExitT5:
    """What the full model says first of `source` ends a text."""
    model = random_t5(1)
    model.tokens = replace(model.tokens, ends=tuple(model.generate(source, 1)))
    return model


def test_empty_text(decode: Decode) -> None:
    """End-of-sequence first: one token, and the rows of other rules go on."""
    sources = random_sources(1, 2)
    model = ending_at_once(tuple(sources[0]))
    rules = every_rule(model.depth)
    generations = decode(model, sources, rules, 6)
    assert generations.n_tokens[0, 0] == 1
    assert generations.n_tokens.max() > 1
    compare(model, generations, sources, rules, 6)


def test_maximum_length_is_reached_and_not_passed(decode: Decode, model: EarlyExitT5) -> None:
    model = random_t5(2)
    model.backbone.lm_head.weight.data[1] = 0  # end-of-sequence is never the best
    sources = random_sources(2, 3)
    generations = decode(model, sources, [Rule.full(), Rule.oracle()], 40)  # past the cache's first length
    assert (generations.n_tokens == 40).all()
    reference = decode_reference(model, sources[0], Rule.oracle(), 40)
    assert generations.exit_layers[0, 1].tolist() == [token.exit_layer for token in reference]


def test_one_token_source(decode: Decode, model: EarlyExitT5) -> None:
    rules = every_rule(model.depth)
    compare(model, decode(model, [[1]], rules, 6), [[1]], rules, 6)


def test_long_source(decode: Decode, model: EarlyExitT5) -> None:
    """600 tokens, far past the position bias's largest distance, beside a source of two."""
    source = [3 + index % 100 for index in range(599)] + [1]
    rules = [Rule.full(), Rule.adaptive(Classifier(), 0.4, Decay("none"))]
    compare(model, decode(model, [source, [5, 1]], rules, 4), [source, [5, 1]], rules, 4)


@pytest.mark.parametrize("measure", [Softmax(), State(), Classifier()])
def test_nan_stops_and_says_where(decode: Decode, measure: Softmax | State | Classifier) -> None:
    model = random_t5()
    model.backbone.decoder.block[1].layer[2].DenseReluDense.wo.weight.data[:] = torch.nan
    rule = Rule.adaptive(measure, 0.999, Decay("none"), min_layer=2)
    with pytest.raises(FloatingPointError, match="NaN at layer 2, position 0"):
        decode(model, [[5, 1]], [rule], 4)
    with pytest.raises(FloatingPointError, match="NaN at layer 2, position 0"):
        decode_reference(model, [5, 1], rule, 4)


@pytest.mark.parametrize("rule", [Rule.full(), Rule.speculative(1, 2)])
def test_nan_stops_what_runs_all_layers(decode: Decode, rule: Rule) -> None:
    model = random_t5()
    model.backbone.decoder.block[3].layer[2].DenseReluDense.wo.weight.data[:] = torch.nan
    with pytest.raises(FloatingPointError, match="NaN at layer 4, position 0"):
        decode(model, [[5, 1]], [rule], 4)


@pytest.mark.parametrize(("rule", "words"), [(Rule.static(9), "at most 4"), (Rule("x", min_layer=0), "at least 1")])
def test_layers_out_of_range_are_refused(decode: Decode, model: EarlyExitT5, rule: Rule, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode(model, [[1]], [rule], 2)


def test_progress_counts_every_example(decode: Decode, model: EarlyExitT5) -> None:
    done: list[int] = []
    decode(model, random_sources(0, 7), [Rule.full()], 3, batch_size=3, on_batch=done.append)
    assert sum(done) == 7


def test_padding_is_zero_and_nan(decode: Decode, model: EarlyExitT5) -> None:
    generations = decode(model, random_sources(8, 6), every_rule(model.depth), 12)
    padding = generations.exit_layers == 0
    assert padding.any()
    assert (generations.token_ids[padding] == 0).all()
    assert np.isnan(generations.confidences[padding]).all()
    baselines = generations.confidences[:, : 2 + model.depth]
    assert np.isnan(baselines).all()
