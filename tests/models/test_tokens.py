"""What a checkpoint says of generating: which tokens start, pad and end, and what a greedy text cannot honour."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5ForConditionalGeneration

from calm_bench.decoding import Decoder, Rule
from calm_bench.errors import InputError
from calm_bench.models import load
from calm_bench.models.tokens import GenerationTokens


def say(checkpoint: Path, folder: Path, file: str, **changes: Any) -> str:
    """A copy of a checkpoint whose `file` says something else; None takes a line away."""
    for source in checkpoint.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    settings = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return str(folder)


def test_generation_settings_come_before_the_models(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert load(str(tiny_checkpoint)).tokens == GenerationTokens(0, 0, (1,))
    path = say(tiny_checkpoint, tmp_path, "generation_config.json", eos_token_id=[1, 7], decoder_start_token_id=5)
    assert load(path).tokens == GenerationTokens(5, 0, (1, 7))


def test_any_end_token_ends_a_text_as_in_generate(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = [5, 9, 1]
    text = Decoder(load(str(tiny_checkpoint))).decode([source], [Rule.full()], 12).token_ids[0, 0].tolist()
    assert text[2] not in text[:2]
    path = say(tiny_checkpoint, tmp_path, "generation_config.json", eos_token_id=[1, text[2]])
    model = load(path)
    ended = Decoder(model).decode([source], [Rule.full()], 12)
    assert ended.n_tokens[0, 0] == 3
    assert ended.token_ids[0, 0, :3].tolist() == text[:3] == model.generate(source, 12)
    assert model.continued([source], [text[:1]], 12) == [text[:3]]


def test_settings_that_a_greedy_text_cannot_honour_are_named_and_left_out(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = {
        "num_beams": 4,
        "no_repeat_ngram_size": 1,
        "min_length": 9,
        "repetition_penalty": 2.5,
        "suppress_tokens": [3, 4],
        "forced_bos_token_id": 6,
    }
    path = say(tiny_checkpoint, tmp_path, "generation_config.json", **other, length_penalty=2.0)
    with caplog.at_level(logging.WARNING):
        model = load(path)
    (line,) = [record.message for record in caplog.records if record.name.startswith("calm_bench")]
    assert all(f"{name}={value}" in line for name, value in other.items())
    assert "\n" not in line
    raw = T5ForConditionalGeneration.from_pretrained(path)
    honoured = raw.generate(torch.tensor([[5, 9, 1]]), max_new_tokens=12, use_cache=False)
    plain = load(str(tiny_checkpoint))
    assert honoured[0, 1:].tolist() != plain.generate([5, 9, 1], 12)  # else the test has no power
    for source in ([5, 9, 1], [8, 1], [30, 31, 32, 1]):
        expected = plain.generate(source, 12)
        assert model.generate(source, 12) == expected
        text = Decoder(model).decode([source], [Rule.full()], 12)
        assert text.token_ids[0, 0, : text.n_tokens[0, 0]].tolist() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("decoder_start_token_id", None), ("pad_token_id", None), ("eos_token_id", None), ("eos_token_id", [1, 400])],
)
def test_a_token_that_is_missing_or_unknown_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, name: str, value: Any
) -> None:
    say(tiny_checkpoint, tmp_path, "generation_config.json", **{name: value})
    file = tmp_path / "config.json"
    config = json.loads(file.read_text()) | {name: None}
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"^model.path={tmp_path}: .*{name}=.*below 400") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)
