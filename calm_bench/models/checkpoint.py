"""What makes a checkpoint useless: found in its files before a library reads them, and in the model afterwards."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from calm_bench.errors import InputError, in_one_line
from calm_bench.models.model import EarlyExitModel

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OBJECTS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", INDEX)
POINTER = b"version https://git-lfs"[:8]
Shapes = dict[str, tuple[int, ...]]
SAMPLE = 32  # tokens that a tokenizer must read back


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Whatever is found wrong within the block, as an InputError of one line that begins with `what`."""
    try:
        yield
    except Exception as error:  # transformers, tokenizers, safetensors, huggingface_hub and torch each raise their own
        raise InputError(f"{what} ({in_one_line(error)})") from error


def check_files(folder: Path) -> Shapes:
    """The shapes of a checkpoint folder's tensors, by name.

    Raises InputError unless it has a configuration and whole weights, in files of its own.
    """
    for file in sorted(folder.iterdir()):
        if file.is_symlink() and not file.exists():
            raise InputError(f"{file}: a link to nothing")
    objects = {name: _object(folder / name) for name in OBJECTS if (folder / name).exists()}
    if not (folder / WEIGHTS).exists() and INDEX not in objects:
        found = sorted(path.name for path in folder.iterdir())[:6]
        raise InputError(f"model.path={folder}: no {WEIGHTS} there (only safetensors are read); found {found}")
    if "config.json" not in objects:
        raise InputError(f"model.path={folder}: no config.json there")
    files = [WEIGHTS] if (folder / WEIGHTS).exists() else _shards(folder / INDEX, objects[INDEX])
    shapes = {name: shape for file in files for name, shape in tensors_in(folder / file).items()}
    return shapes


def check_vocabulary(folder: Path) -> None:
    """Raise InputError where a tokenizer's file is missing: transformers would read texts by an invented vocabulary."""
    settings = folder / "tokenizer_config.json"
    by_bytes = settings.exists() and _object(settings).get("tokenizer_class") == "ByT5Tokenizer"
    if not by_bytes and not (folder / "tokenizer.json").exists() and not any(folder.glob("*.model")):
        raise InputError(f"model.path={folder}: no vocabulary there (tokenizer.json or spiece.model)")


def tensors_in(file: Path) -> Shapes:
    """The shapes of a safetensors file's tensors, by name; InputError unless it is as long as its header says."""
    with readable(f"{file}: not a safetensors file"), file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = json.loads(stream.read(length)) if 0 < length <= size - 8 else {}
    if start == POINTER:
        raise InputError(f"{file}: a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    if not header:
        raise InputError(f"{file}: not a safetensors file; its {size} bytes hold no tensors")
    with readable(f"{file}: not a safetensors file"):
        tensors = {name: about for name, about in header.items() if name != "__metadata__"}
        whole = 8 + length + max(int(about["data_offsets"][1]) for about in tensors.values())
        shapes = {name: tuple(about["shape"]) for name, about in tensors.items()}
    if whole != size:
        raise InputError(f"{file}: {size} bytes, but its tensors end at byte {whole}; it was cut off or changed")
    return shapes


def read_tensors(file: Path, wanted: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The tensors of a small safetensors file, which must be these, of these shapes, floating and finite."""
    shapes = tensors_in(file)
    if shapes != {name: tuple(shape) for name, shape in wanted.items()}:
        described = [", ".join(f"{name} {tuple(kind[name])}" for name in sorted(kind)) for kind in (wanted, shapes)]
        raise InputError(f"{file}: must hold {described[0]}, but holds {described[1]}")
    with readable(f"{file}: cannot be read"):
        tensors = load_file(file)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"{file}: {name} must hold finite floating-point numbers")
    return tensors


@torch.inference_mode()
def check_model(model: EarlyExitModel) -> None:
    """Raise InputError unless the tokenizer fits the model, reads what it writes, and the model makes numbers of it."""
    vocabulary, size = model.tokenizer.get_vocab(), model.shape().vocab
    if (largest := max(vocabulary.values(), default=0)) >= size:
        raise InputError(f"the tokenizer has tokens up to {largest}, but the model's embedding only {size}")
    special = set(model.tokenizer.all_special_ids)
    ordinary = sorted(token for token in vocabulary.values() if token not in special)
    texts = [
        text.strip() for text in model.detokenize([[token] for token in ordinary[:: len(ordinary) // SAMPLE or 1]])
    ]
    texts = [text for text in texts if text]
    read = model.tokenize(texts) if texts else []
    again = [text.strip() for text in model.detokenize(read)]
    if 2 * sum(one == other for one, other in zip(texts, again, strict=True)) <= len(texts):
        raise InputError(f"the tokenizer does not read back its own words: of {texts[:3]} it makes {again[:3]}")
    if not all(tokens[-1] in model.tokens.ends for tokens in read):
        raise InputError(
            f"the tokenizer does not end a text with {list(model.tokens.ends)}, the model's end of sequence"
        )
    for forced in model.forced(read[:1], read[:1]):
        if not forced.logits.isfinite().all():
            raise InputError("the model's logits are not finite; its weights are damaged")


def _object(file: Path) -> dict[str, Any]:
    with readable(f"{file}: not a JSON file"):
        content = json.loads(file.read_bytes())
    if not isinstance(content, dict):
        raise InputError(f"{file}: must be a JSON object, is a {type(content).__name__}")
    return content


def _shards(file: Path, index: dict[str, Any]) -> list[str]:
    """The names of the files with the weights, each beside the index."""
    named = index.get("weight_map")
    names = list(dict.fromkeys(named.values())) if isinstance(named, dict) else []
    if not names:
        raise InputError(f"{file}: must say under weight_map in which file each tensor is")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"{file}: {name!r} must be a safetensors file of the same folder")
    return names
