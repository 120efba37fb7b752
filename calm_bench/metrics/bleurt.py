"""BLEURT: a similarity learned from human ratings (Sellam et al. 2020), from a checkpoint on this disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from calm_bench.errors import InputError, in_one_line
from calm_bench.metrics.metric import Metric

DECIMALS = 6  # a pair's score moves by less when other pairs share its batch


class Bleurt(Metric):
    """BLEURT clipped to [0, 1], the best over the references; the quality of a set is the mean of its texts.

    A learned score of a text with itself is not 1; an identical string is set to exactly 1, so that D(Y, Y) = 0.
    `path` is a `save_pretrained` folder that transformers reads as a sequence classifier with one label, such as the
    ports of BLEURT to BERT and RemBERT. Raises InputError where there are no such weights: nothing stands in for them.
    """

    name = "BLEURT"

    def __init__(self, path: str | None, device: str = "auto", batch_size: int = 64) -> None:
        if path is None or not Path(path, "config.json").is_file():
            raise InputError(f"BLEURT: path={path} must be a save_pretrained folder (task.similarity.path=DIR)")
        weights = sorted(Path(path).glob("*.safetensors"))
        if not weights:
            raise InputError(f"BLEURT: path={path} has no *.safetensors; only safetensors are read")
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                path, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # transformers, tokenizers and safetensors each raise their own
            raise InputError(f"BLEURT: cannot read path={path}: {in_one_line(error)}") from error
        if loaded["missing_keys"]:  # which transformers would fill at random
            raise InputError(f"BLEURT: path={path} has no weights for {sorted(loaded['missing_keys'])[0]}")
        if model.config.num_labels != 1:
            raise InputError(f"BLEURT: path={path} has {model.config.num_labels} labels, but a score is one number")
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._model = model.eval().to("cuda" if on_gpu else "cpu")
        self._batch_size = batch_size
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()[:12]
        self.description = (
            f"BLEURT {Path(path).resolve().name} ({digest}), clipped to [0, 1], identical: 1, best reference"
        )

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return self.pairs([(prediction, references)])[0]

    def pairs(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> Sequence[Sequence[float]]:
        asked = [(answer, text) for text, answers in pairs if text not in answers for answer in answers]
        found = dict(zip(asked, self._rate(asked), strict=True))
        return [[1.0 if text in answers else max(found[answer, text] for answer in answers)] for text, answers in pairs]

    def _rate(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Scores of (reference, candidate) pairs, in this order as BLEURT was trained, in [0, 1]."""
        import torch

        order = sorted(
            range(len(pairs)), key=lambda index: sum(map(len, pairs[index]))
        )  # alike lengths, little padding
        scores = [0.0] * len(pairs)
        for start in range(0, len(pairs), self._batch_size):
            part = order[start : start + self._batch_size]
            first, second = zip(*(pairs[index] for index in part), strict=True)
            inputs = self._tokenizer(
                list(first), list(second), padding=True, truncation=True, max_length=512, return_tensors="pt"
            )
            with torch.inference_mode():
                rated = self._model(**inputs.to(self._model.device)).logits[:, 0].clamp(0, 1).tolist()
            for index, value in zip(part, rated, strict=True):
                scores[index] = round(value, DECIMALS)
        return scores
