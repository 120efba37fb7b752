"""The bundled model, on its own test split: the decoder's equalities where texts are real, and the scores it claims."""

from pathlib import Path

import numpy as np
import pytest
import torch

import calm_bench as cb
from calm_bench.decoding.reference import decode_reference
from calm_bench.measures import Classifier, Measure, MlpClassifier, Softmax, State
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import assert_same

ASSETS = Path(cb.__file__).parent / "assets"
LENGTH = 48
MEASURES: list[Measure] = [Softmax(), State(), Classifier(), MlpClassifier(hidden=256)]


@pytest.fixture(scope="module")
def model() -> EarlyExitT5:
    torch.set_num_threads(1)
    return cb.load(str(ASSETS / "model"))


@pytest.fixture(scope="module")
def sources(model: EarlyExitT5) -> list[list[int]]:
    import pandas as pd

    english = pd.read_parquet(ASSETS / "data/tatoeba_enfr/test.parquet")["translation"].str["en"].unique()
    return model.tokenize([f"translate English to French: {text}" for text in english[::90]])


def test_it_is_a_t5_v1_1_of_at_most_13_mb(model: EarlyExitT5) -> None:
    config = model.backbone.config
    assert model.depth == 8
    assert config.is_gated_act
    assert not config.scale_decoder_outputs
    assert model.backbone.lm_head.weight.data_ptr() != model.backbone.shared.weight.data_ptr()
    assert sum(file.stat().st_size for file in (ASSETS / "model").iterdir()) <= 13e6


def test_full_depth_is_generate_of_transformers(model: EarlyExitT5, sources: list[list[int]]) -> None:
    generations = cb.decode(model, sources, [cb.Rule.full()], LENGTH)
    for example, source in enumerate(sources):
        expected = model.generate(source, LENGTH)
        assert generations.token_ids[example, 0, : generations.n_tokens[example, 0]].tolist() == expected


@pytest.mark.parametrize("executor", ["speculative", "native"])
def test_speculative_texts_are_the_full_models(executor: str, model: EarlyExitT5, sources: list[list[int]]) -> None:
    """All of them, where drafts are really made and verified; and which drafts were kept is what the grid says."""
    rules = [cb.Rule.speculative(layer, drafts) for layer, drafts in ((1, 2), (2, 4), (7, 1))]
    decoder = cb.Decoder(model, executor=executor)
    if decoder.serving(rules[0]).name != executor:
        pytest.skip(f"the {executor} executor is not available")
    drafted = decoder.decode(sources, rules, LENGTH)
    known = cb.Decoder(model, executor="grid").decode(sources, [cb.Rule.full(), *rules], LENGTH)
    for number in range(len(rules)):
        np.testing.assert_array_equal(drafted.token_ids[:, number], known.token_ids[:, 0])
    np.testing.assert_array_equal(drafted.exit_layers, known.exit_layers[:, 1:])
    kept = [(drafted.exit_layers[:, number] == layer).mean() for number, layer in enumerate((1, 2, 7))]
    assert min(kept) > 0


def test_every_measure_equals_the_reference(model: EarlyExitT5, sources: list[list[int]]) -> None:
    """All in one pass, against one text and one rule at a time; a difference must be a tie, and ties must be rare."""
    chosen = sources[:: len(sources) // 5]
    rules = [cb.Rule.full(), cb.Rule.oracle(), cb.Rule.static(3)]
    rules += [
        cb.Rule.adaptive(
            measure, threshold, cb.Decay("additive", 4.0 if isinstance(measure, Softmax | Classifier) else 0.0)
        )
        for measure in MEASURES
        for threshold in (0.989, 0.9, 0.6)
    ]
    generations = cb.decode(model, chosen, rules, LENGTH)
    ties = sum(
        assert_same(generations, e, r, rule, decode_reference(model, source, rule, LENGTH), LENGTH)
        for e, source in enumerate(chosen)
        for r, rule in enumerate(rules)
    )
    assert ties <= 1
    assert len(set(generations.exit_layers[generations.exit_layers > 0].tolist())) >= 5


def test_a_batch_never_changes_a_text(model: EarlyExitT5, sources: list[list[int]]) -> None:
    rules = [cb.Rule.full(), *(cb.Rule.adaptive(measure, 0.8, cb.Decay("additive", 4.0)) for measure in MEASURES)]
    together = cb.Decoder(model).decode(sources[::-1], rules, LENGTH, batch_size=48)
    alone = cb.Decoder(model).decode(sources, rules, LENGTH, batch_size=1)
    assert (together.token_ids[::-1] == alone.token_ids).all()
    assert (together.exit_layers[::-1] == alone.exit_layers).all()
