import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel, ByT5Tokenizer, MT5ForConditionalGeneration, T5ForConditionalGeneration

import calm_bench
from calm_bench.decoding import Rule, decode
from calm_bench.errors import InputError
from calm_bench.models import EarlyExitT5, from_scratch, load
from calm_bench.models.tokenizer import train_tokenizer
from tests.models_for_tests import random_t5

DATA = Path(calm_bench.__file__).parent / "assets/data/tatoeba_enfr/validation.parquet"
TEXTS = [text for pair in pd.read_parquet(DATA)["translation"][:300] for text in pair.values()]
TINY = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 3}


@pytest.fixture(scope="module")
def model() -> EarlyExitT5:
    torch.manual_seed(0)
    return from_scratch(train_tokenizer(TEXTS, 300), TINY)


def test_a_fresh_head_is_its_own(model: EarlyExitT5) -> None:
    t5 = model.backbone
    assert t5.lm_head.weight.data_ptr() != t5.shared.weight.data_ptr()
    assert not t5.config.scale_decoder_outputs
    assert t5.lm_head.weight.std().item() == pytest.approx(16**-0.5, rel=0.1)


def test_round_trip(model: EarlyExitT5, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = load(str(tmp_path))
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(again.backbone.state_dict()[name], value, rtol=0, atol=0)
    assert not again.learned
    assert again.tokenize(["the cat"]) == model.tokenize(["the cat"])
    assert again.detokenize(again.tokenize(TEXTS[:5])) == TEXTS[:5]
    plain = T5ForConditionalGeneration.from_pretrained(tmp_path)
    torch.testing.assert_close(plain.lm_head.weight, model.backbone.lm_head.weight)


def test_half_precision_on_disk_is_float32_in_memory(model: EarlyExitT5, tmp_path: Path) -> None:
    model.save(tmp_path / "half", "float16")
    model.save(tmp_path / "whole")
    half = load(str(tmp_path / "half"))
    assert half.backbone.dtype == torch.float32
    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")}
    assert size["half"] < 0.7 * size["whole"]


def test_an_mt5_checkpoint(model: EarlyExitT5, tmp_path: Path) -> None:
    """Its class is another, its head is its own, and a state is not scaled before it."""
    random = random_t5(3, mt5=True, vocab=300)
    EarlyExitT5(random.backbone, model.tokenizer).save(tmp_path)
    again = load(str(tmp_path))
    assert type(again.backbone) is MT5ForConditionalGeneration
    torch.testing.assert_close(again.backbone.lm_head.weight, random.backbone.lm_head.weight, rtol=0, atol=0)
    states = torch.randn(2, 32)
    torch.testing.assert_close(again.head(states), random.head(states))
    assert decode(again, [[5, 6, 1]], [Rule.full()], 5).token_ids.tolist() == (
        decode(random, [[5, 6, 1]], [Rule.full()], 5).token_ids.tolist()
    )


def test_a_byt5_tokenizer(tmp_path: Path) -> None:
    """Bytes in, bytes out: no file of pieces is needed."""
    random = random_t5(3, vocab=384)
    EarlyExitT5(random.backbone, ByT5Tokenizer()).save(tmp_path)
    again = load(str(tmp_path))
    assert again.tokenize(["né"]) == [[*(byte + 3 for byte in "né".encode()), 1]]
    assert again.detokenize(again.tokenize(["né"])) == ["né"]


def test_tokens_are_cut_and_end(model: EarlyExitT5) -> None:
    (ids,) = model.tokenize(["the cat sat on the mat " * 10], 8)
    assert len(ids) == 8
    assert ids[-1] == 1


def test_the_tokenizer_is_the_same_for_the_same_texts() -> None:
    assert train_tokenizer(TEXTS, 300).get_vocab() == train_tokenizer(TEXTS, 300).get_vocab()


def test_a_vocabulary_that_the_texts_cannot_fill_is_refused() -> None:
    with pytest.raises(InputError, match=r"vocab_size=9999 .*<= "):
        train_tokenizer(TEXTS[:20], 9999)


def test_a_pickle_checkpoint_is_refused(tmp_path: Path, model: EarlyExitT5) -> None:
    model.save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only safetensors.*pytorch_model\.bin"):
        load(str(tmp_path))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    config = BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=1, vocab_size=20)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a T5 is needed, this is a 'bert' checkpoint"):
        load(str(tmp_path))


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, model: EarlyExitT5) -> None:
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_decoder_layers": 5}))
    with pytest.raises(InputError, match=r"do not fit.*decoder\.block\.3"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"d_ff": 32}))
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_classifier_of_another_width_is_refused(tmp_path: Path, model: EarlyExitT5) -> None:
    from calm_bench.models import ExitClassifier

    model.save(tmp_path)
    ExitClassifier(7).save(tmp_path)
    with pytest.raises(InputError, match=r"must hold .*linear.weight \(1, 16\), but holds .*linear.weight \(1, 7\)"):
        load(str(tmp_path))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"no model\.safetensors there.*notes\.txt"):
        load(str(tmp_path))
