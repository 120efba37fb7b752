"""Every checkpoint that cannot be decoded is refused in one line that names its folder and the reason."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from calm_bench.errors import InputError
from calm_bench.models import load
from tests.models.small_training import model_and_rows

Change = Callable[[Path], object]
WEIGHTS, INDEX, CLASSIFIER = "model.safetensors", "model.safetensors.index.json", "exit_classifier.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"
WIDTH = 16  # of `tiny_checkpoint`


def edited(file: str, **values: Any) -> Change:
    """A JSON file with other values."""
    return lambda folder: (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | values))


def holding(file: str, content: str | bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def without(*files: str) -> Change:
    return lambda folder: [(folder / file).unlink() for file in files]


def link_to_nothing(file: str) -> Change:
    return lambda folder: [(folder / file).unlink(), (folder / file).symlink_to(folder / "nothing")]


def a_folder(file: str) -> Change:
    return lambda folder: [(folder / file).unlink(), (folder / file).mkdir()]


def cut(file: str, count: int) -> Change:
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size - count)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def changed(folder: Path) -> None:
        values = load_file(folder / WEIGHTS)
        change(values)
        save_file(values, folder / WEIGHTS, metadata={"format": "pt"})

    return changed


def sharded(index: Callable[[list[str]], Any]) -> Change:
    """All tensors in one shard, and the index that `index` makes of their names."""

    def changed(folder: Path) -> None:
        names = list(load_file(folder / WEIGHTS))
        (folder / WEIGHTS).rename(folder / "model-1.safetensors")
        (folder / INDEX).write_text(json.dumps(index(names)))

    return changed


def shards(name: Any) -> Change:
    return sharded(lambda names: {"metadata": {}, "weight_map": dict.fromkeys(names, name)})


def classifier(**values: torch.Tensor) -> Change:
    named = {name.replace("_", "."): value for name, value in values.items()}
    return lambda folder: save_file(named, folder / CLASSIFIER)


FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", WEIGHTS, CLASSIFIER)
row, bias = torch.zeros(1, WIDTH), torch.zeros(1)
MALFORMED: dict[str, tuple[Change, str]] = {
    "config missing": (without("config.json"), "no config.json there"),
    "config a list": (holding("config.json", "[]"), "config.json: must be a JSON object, is a list"),
    "config null": (holding("config.json", "null"), "config.json: must be a JSON object"),
    "config a word": (holding("config.json", '"t5"'), "config.json: must be a JSON object, is a str"),
    "config empty": (holding("config.json", ""), "config.json: not a JSON file"),
    "config too deep": (holding("config.json", "[" * 100_000), "config.json: not a JSON file"),
    "config not text": (holding("config.json", b"\xff\xfe\x00"), "config.json: not a JSON file"),
    "config of another model": (edited("config.json", model_type="bert"), "a T5 is needed, this is a 'bert'"),
    "config of an unknown model": (edited("config.json", model_type=5), "transformers can load"),
    "no layer": (edited("config.json", num_decoder_layers=0), "num_decoder_layers=0 in config.json must be at least 1"),
    "no encoder layer": (edited("config.json", num_layers=0), "num_layers=0 in config.json must be at least 1"),
    "no head": (edited("config.json", num_heads=0), "num_heads=0"),
    "negative width": (edited("config.json", d_ff=-1), "d_ff=-1"),
    "width in letters": (edited("config.json", d_model="16"), "Field 'd_model' expected int, got str"),
    "depth null": (edited("config.json", num_layers=None), "Field 'num_layers' expected int"),
    "more layers than tensors": (edited("config.json", num_decoder_layers=5), "do not fit config.json.*block.3"),
    "other tensors": (edited("config.json", d_ff=99), "do not fit config.json.*DenseReluDense"),
    "other vocabulary": (edited("config.json", vocab_size=999), "vocab_size=999 in config.json, but the embedding has"),
    "no buckets": (edited("config.json", relative_attention_num_buckets=0), "do not fit config.json.*attention_bias"),
    "no distance": (edited("config.json", relative_attention_max_distance=0), "not a checkpoint to decode with"),
    "impossible dropout": (edited("config.json", dropout_rate=-1), "dropout probability"),
    "unknown dtype": (edited("config.json", dtype="float99"), "float99"),
    "labels of a wrong type": (edited("config.json", id2label=5), "transformers can load"),
    "a kernel that is not there": (edited("config.json", attn_implementation="flash_attention_2"), "Flash Attention"),
    "an unknown kernel": (edited("config.json", _attn_implementation="none"), 'attn_implementation="none"'),
    "quantised": (edited("config.json", quantization_config={"quant_method": "gptq"}), "quantised weights"),
    "generation a list": (holding("generation_config.json", "[]"), "generation_config.json: must be a JSON object"),
    "generation no JSON": (holding("generation_config.json", "{"), "generation_config.json: not a JSON file"),
    "no start": (
        lambda folder: [
            edited(file, decoder_start_token_id=None, bos_token_id=None)(folder)
            for file in ("config.json", "generation_config.json")
        ],
        "decoder_start_token_id=None",
    ),
    "pad outside": (edited("generation_config.json", pad_token_id=10**6), "pad_token_id=1000000"),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "no vocabulary there"),
    "no vocabulary": (without("tokenizer.json"), "no vocabulary there"),
    "tokenizer_config a list": (holding("tokenizer_config.json", "[]"), "tokenizer_config.json: must be a JSON object"),
    "tokenizer a list": (holding("tokenizer.json", "[]"), "tokenizer.json: must be a JSON object"),
    "tokenizer empty": (holding("tokenizer.json", ""), "tokenizer.json: not a JSON file"),
    "tokenizer of nothing": (holding("tokenizer.json", "{}"), "transformers can load"),
    "weights missing": (without(WEIGHTS), "only safetensors are read"),
    "weights empty": (holding(WEIGHTS, ""), "not a safetensors file"),
    "weights a pointer": (holding(WEIGHTS, POINTER), "a Git LFS pointer.*git lfs pull"),
    "weights cut off": (cut(WEIGHTS, 100), "cut off or changed"),
    "weights noise": (holding(WEIGHTS, bytes(range(1, 256)) * 9), "not a safetensors file"),
    "weights a folder": (a_folder(WEIGHTS), "not a safetensors file"),
    "header no JSON": (holding(WEIGHTS, (3).to_bytes(8, "little") + b"abc"), "not a safetensors file"),
    "header of another shape": (holding(WEIGHTS, (7).to_bytes(8, "little") + b'{"a":1}'), "not a safetensors file"),
    "weights that are no numbers": (tensors(lambda t: t["lm_head.weight"].fill_(torch.nan)), "logits are not finite"),
    "no head of its own": (tensors(lambda t: t.pop("lm_head.weight")), "lm_head.weight"),
    "no embedding": (tensors(lambda t: t.pop("shared.weight")), "shared.weight"),
    "index without a map": (sharded(lambda names: {}), "must say under weight_map"),
    "index a list": (sharded(lambda names: names), "must be a JSON object"),
    "map a list": (sharded(lambda names: {"weight_map": names}), "must say under weight_map"),
    "map of numbers": (shards(5), "5 must be a safetensors file of the same folder"),
    "shard missing": (shards("model-2.safetensors"), "model-2.safetensors.*No such file"),
    "shard above": (shards("../tiny/model.safetensors"), "must be a safetensors file of the same folder"),
    "shard elsewhere": (shards("/etc/model.safetensors"), "must be a safetensors file of the same folder"),
    "shard a pickle": (shards("pytorch_model.bin"), "must be a safetensors file of the same folder"),
    "classifier empty": (holding(CLASSIFIER, ""), "not a safetensors file"),
    "classifier a pointer": (holding(CLASSIFIER, POINTER), "a Git LFS pointer"),
    "classifier cut off": (cut(CLASSIFIER, 4), "cut off or changed"),
    "classifier a folder": (a_folder(CLASSIFIER), "not a safetensors file"),
    "classifier of another name": (classifier(weight=row), "must hold .*, but holds weight"),
    "classifier of another shape": (
        classifier(linear_weight=torch.zeros(2, WIDTH), linear_bias=torch.zeros(2)), r"linear.weight \(2, 16\)"
    ),
    "classifier without bias": (classifier(linear_weight=row), "must hold linear.bias"),
    "classifier with more": (classifier(linear_weight=row, linear_bias=bias, more=torch.zeros(1)), "but holds .*more"),
    "classifier not finite": (classifier(linear_weight=row * torch.inf, linear_bias=bias), "must hold finite"),
    "classifier of whole numbers": (classifier(linear_weight=row.long(), linear_bias=bias), "must hold finite"),
    **{f"{file} a link to nothing": (link_to_nothing(file), f"{file}: a link to nothing") for file in FILES},
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), MALFORMED.values(), ids=list(MALFORMED))
def test_it_is_one_line_with_folder_and_reason(
    change: Change, reason: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "broken")
    change(folder)
    with pytest.raises(InputError, match=reason) as refused:
        load(str(folder))
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


HARMLESS: dict[str, Change] = {
    "left as it is": lambda folder: None,
    "in a shard": shards("model-1.safetensors"),
    "a linked file": lambda folder: [
        (folder / WEIGHTS).rename(folder.parent / "blob"), (folder / WEIGHTS).symlink_to("../blob")
    ],
    "padding on the left": edited("tokenizer_config.json", padding_side="left", truncation_side="left"),
}  # fmt: skip


@pytest.mark.parametrize("change", HARMLESS.values(), ids=list(HARMLESS))
def test_what_does_no_harm_is_loaded_and_fills_up_on_the_right(
    change: Change, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "whole")
    change(folder)
    model, whole = load(str(folder)), load(str(tiny_checkpoint))
    torch.testing.assert_close(model.backbone.state_dict(), whole.backbone.state_dict(), rtol=0, atol=0)
    assert (model.tokenizer.padding_side, model.tokenizer.truncation_side) == ("right", "right")
    assert model.tokenize(["two words"], 2) == whole.tokenize(["two words"], 2)


def test_a_tokenizer_of_more_tokens_than_the_embedding_has(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A vocabulary of another model; ids beyond the embedding would end in an index error, or in noise on a GPU."""
    model, _ = model_and_rows()  # 120 rows, and the bytes of ByT5
    model.save(tmp_path)
    with pytest.raises(InputError, match="the tokenizer has tokens up to 383, but the model's embedding only 120"):
        load(str(tmp_path))


def test_a_tokenizer_that_does_not_end_texts(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "endless")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    edited("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)
    with pytest.raises(InputError, match=r"does not end a text with \[1\]"):
        load(str(folder))


def test_a_tokenizer_that_does_not_read_its_own_words(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "dumb")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "."}, "content": "x"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    edited("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)
    with pytest.raises(InputError, match="does not read back its own words"):
        load(str(folder))
