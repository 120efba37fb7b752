"""A T5 with exits: what the suite decodes, loaded from a checkpoint folder or a hub name, or made from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MT5ForConditionalGeneration, PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from calm_bench.errors import InputError
from calm_bench.models.exit_classifier import ExitClassifier

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
# mT5 has T5's layout in a class of its own; Flan-T5 and ByT5 are T5 to transformers.
CLASSES = {"t5": T5ForConditionalGeneration, "mt5": MT5ForConditionalGeneration}


@dataclass
class EarlyExitT5:
    """A T5, its tokenizer, and the exit classifier if it has one.

    All layers share one output head; the final norm is applied to an early state before the head, as the released
    code does (the paper is silent on it).

    `dtype` is how decoding holds weights, keys and values; its activations are float32 in any case, and so is
    `backbone`, which defines what bfloat16 decoding approximates.
    """

    backbone: T5ForConditionalGeneration | MT5ForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    classifier: ExitClassifier | None = None
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        return self.backbone.shared.weight.device

    @property
    def depth(self) -> int:
        """L, the number of decoder layers."""
        return len(self.backbone.decoder.block)

    @property
    def classify(self) -> Callable[[Tensor], Tensor] | None:
        """States (n, d) -> confidences (n,), or None."""
        return self.classifier

    def head(self, states: Tensor, among: Tensor | None = None) -> Tensor:
        """Logits (..., V) of decoder states (..., d) of any layer, or those of the tokens among (..., k) alone."""
        normed = self.backbone.decoder.final_layer_norm(states) * head_scale(self.backbone.config)
        if among is None:
            return self.backbone.lm_head(normed)
        return (self.backbone.lm_head.weight[among] @ normed[..., None]).squeeze(-1)

    def tokenize(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[int]]:
        """Token ids of each text, end-of-sequence last, cut to `max_tokens`."""
        encoded = self.tokenizer(list(texts), truncation=max_tokens is not None, max_length=max_tokens)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def detokenize(self, token_ids: Any) -> list[str]:
        """Texts of rows of token ids (n, T), padding and special tokens left out."""
        texts: list[str] = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        return texts

    def save(self, folder: Path, dtype: str = "float32") -> None:
        """Write a Hugging Face checkpoint folder in this dtype, the exit classifier beside it in float32."""
        copy.deepcopy(self.backbone).to(getattr(torch, dtype)).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.classifier is not None:
            self.classifier.save(folder)


def head_scale(config: Any) -> float:
    """What a normed state is multiplied by before the head: T5 v1.0, which ties its head to the embedding, scales."""
    return config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0


def load(name_or_path: str, device: str = "cpu", dtype: str = "float32") -> EarlyExitT5:
    """Load a checkpoint of the T5 family: T5 v1.0 and v1.1, Flan-T5, ByT5, mT5.

    Args:
        name_or_path: a `save_pretrained` folder, or a hub name. Only safetensors are read, never a pickle, and no code
            that comes with a checkpoint is run.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16": how decoding holds weights, keys and values.

    Raises:
        InputError: the folder or name is not there, is no T5, or its tensors do not fit.
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
    classifier = ExitClassifier.load(folder, backbone.config.d_model) if folder.is_dir() else None
    return EarlyExitT5(
        backbone.to(device).eval(),
        tokenizer,
        classifier.to(device).eval() if classifier is not None else None,
        getattr(torch, dtype),
    )


def from_scratch(tokenizer: PreTrainedTokenizerBase, dimensions: dict[str, Any], device: str = "cpu") -> EarlyExitT5:
    """A fresh T5 v1.1 (gated GELU, its own output head) with random weights.

    Args:
        tokenizer: its size is the vocabulary's.
        dimensions: keyword arguments of `transformers.T5Config`, such as d_model, d_ff, num_decoder_layers.
    """
    config = T5Config(
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        feed_forward_proj="gated-gelu",
        **dimensions,
    )
    backbone = T5ForConditionalGeneration(config)
    # transformers ties a fresh T5's head to the embedding whatever the config says; T5 v1.1 has its own.
    head = torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5
    backbone.lm_head.weight = nn.Parameter(head)
    return EarlyExitT5(backbone.to(device), tokenizer)


def _not_loadable(name_or_path: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name_or_path).is_dir():
        return f"model.path={name_or_path}: not a checkpoint that transformers can load ({reason})"
    return (
        f"model: {name_or_path!r} is no local folder and could not be fetched from the hub; "
        f"give a save_pretrained folder with model.path=DIR ({reason})"
    )
