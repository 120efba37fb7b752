"""Models from a checkpoint folder or a hub name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from calm_bench.errors import InputError
from calm_bench.models.checkpoint import Shapes, check_files, check_model, check_vocabulary, readable
from calm_bench.models.learned import load_learned
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.quiet import quietly
from calm_bench.models.t5 import CLASSES, EarlyExitT5
from calm_bench.models.t5_weights import head_is_tied
from calm_bench.models.tokens import not_greedy

log = logging.getLogger(__name__)


def load(name_or_path: str, device: str = "cpu") -> EarlyExitModel:
    """Load a checkpoint of a family that the suite knows: T5 v1.0 and v1.1, Flan-T5, ByT5, mT5.

    Args:
        name_or_path: a `save_pretrained` folder, or a hub name. Only safetensors are read, never a pickle, and no code
            that comes with a checkpoint is run.
        device: "cpu" or "cuda".

    Raises:
        InputError: the folder or name is not there, is no T5, its tensors do not fit, its tokenizer is another model's,
            or it does not say which tokens start, pad and end a text.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(name_or_path)
    shapes = check_files(folder) if folder.is_dir() else {}
    with readable(_unreadable(name_or_path)):
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    _check_config(config, shapes, name_or_path)
    if folder.is_dir():
        check_vocabulary(folder)
    with readable(_unreadable(name_or_path)), quietly():
        backbone, report = CLASSES[config.model_type].from_pretrained(
            name_or_path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
        )
        # A saved tokenizer may have been turned to fill up on the left, where labels and masks here have nothing.
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, trust_remote_code=False, padding_side="right", truncation_side="right"
        )
    wrong = sorted(report["missing_keys"]) + sorted(name for name, *_ in report["mismatched_keys"])
    if not head_is_tied(config) and backbone.lm_head.weight.data_ptr() == backbone.shared.weight.data_ptr():
        wrong.append("lm_head.weight or shared.weight")
    if wrong:
        raise InputError(
            f"model.path={name_or_path}: the tensors do not fit config.json, missing or of another size: {wrong[:4]}"
        )
    if settings := not_greedy(backbone.generation_config):
        names = ", ".join(f"{name}={value}" for name, value in settings.items())
        log.warning(f"{name_or_path}: texts are greedy, so these of its generation settings are left out: {names}")
    with readable(f"model.path={name_or_path}: not a checkpoint to decode with"):
        model = EarlyExitT5(backbone.eval(), tokenizer)
        check_model(model)
    backbone.to(device)
    if folder.is_dir():
        load_learned(model, folder)
    return model


def _check_config(config: Any, shapes: Shapes, name_or_path: str) -> None:
    """shapes: of the checkpoint's tensors, as far as they are known before it is read."""
    where = f"model.path={name_or_path}"
    if config.model_type not in CLASSES:
        raise InputError(f"{where}: a T5 is needed, this is a {config.model_type!r} checkpoint")
    if getattr(config, "quantization_config", None):
        raise InputError(f"{where}: quantised weights are not read; give the checkpoint that they were made from")
    for name in ("num_layers", "num_decoder_layers", "num_heads", "d_model", "d_kv", "d_ff", "vocab_size"):
        if getattr(config, name) < 1:
            raise InputError(f"{where}: {name}={getattr(config, name)} in config.json must be at least 1")
    if (rows := shapes.get("shared.weight", (config.vocab_size,))[0]) != config.vocab_size:
        raise InputError(f"{where}: vocab_size={config.vocab_size} in config.json, but the embedding has {rows} rows")


def _unreadable(name_or_path: str) -> str:
    """What is said of a checkpoint that transformers does not load; its reason follows."""
    if Path(name_or_path).is_dir():
        return f"model.path={name_or_path}: not a checkpoint that transformers can load"
    return (
        f"model: {name_or_path!r} is no local folder and could not be fetched from the hub; "
        f"give a save_pretrained folder with model.path=DIR"
    )
