"""Models from a checkpoint folder or a hub name."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from calm_bench.errors import InputError, in_one_line
from calm_bench.models.learned import load_learned
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.t5 import CLASSES, EarlyExitT5
from calm_bench.models.tokens import not_greedy

log = logging.getLogger(__name__)
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


def load(name_or_path: str, device: str = "cpu") -> EarlyExitModel:
    """Load a checkpoint of a family that the suite knows: T5 v1.0 and v1.1, Flan-T5, ByT5, mT5.

    Args:
        name_or_path: a `save_pretrained` folder, or a hub name. Only safetensors are read, never a pickle, and no code
            that comes with a checkpoint is run.
        device: "cpu" or "cuda".

    Raises:
        InputError: the folder or name is not there, is no T5, its tensors do not fit, or it does not say which tokens
            start, pad and end a text.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(name_or_path)
    if folder.is_dir() and not any((folder / name).exists() for name in WEIGHT_FILES):
        found = sorted(path.name for path in folder.iterdir())[:6]
        raise InputError(
            f"model.path={name_or_path}: no model.safetensors there (only safetensors are read); found {found}"
        )
    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(_not_loadable(name_or_path, error)) from error
    if config.model_type not in CLASSES:
        raise InputError(f"model.path={name_or_path}: a T5 is needed, this is a {config.model_type!r} checkpoint")
    try:
        backbone, report = CLASSES[config.model_type].from_pretrained(
            name_or_path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(_not_loadable(name_or_path, error)) from error
    wrong = sorted(report["missing_keys"]) + sorted(report["mismatched_keys"])
    if wrong:
        raise InputError(f"model.path={name_or_path}: the checkpoint's tensors do not fit a T5; missing: {wrong[:4]}")
    if settings := not_greedy(backbone.generation_config):
        names = ", ".join(f"{name}={value}" for name, value in settings.items())
        log.warning(f"{name_or_path}: texts are greedy, so these of its generation settings are left out: {names}")
    try:
        model = EarlyExitT5(backbone.to(device).eval(), tokenizer)
    except InputError as error:
        raise InputError(f"model.path={name_or_path}: {error}") from error
    if folder.is_dir():
        load_learned(model, folder)
    return model


def _not_loadable(name_or_path: str, error: Exception) -> str:
    reason = in_one_line(error)
    if Path(name_or_path).is_dir():
        return f"model.path={name_or_path}: not a checkpoint that transformers can load ({reason})"
    return (
        f"model: {name_or_path!r} is no local folder and could not be fetched from the hub; "
        f"give a save_pretrained folder with model.path=DIR ({reason})"
    )
