"""What a user could take instead of this decoder: CTranslate2, at full depth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from calm_bench.models.model import EarlyExitModel


def unavailable(model: EarlyExitModel) -> str | None:
    """Why CTranslate2 is not timed, in words that follow a colon; or None."""
    if find_spec("ctranslate2") is None:
        return "it is not installed (pip install 'calm-bench[peers]')"
    if model.device.type != "cpu":
        return f"it is compared on a CPU, and the model is on {model.device.type}"
    if model.tokenizer is None:
        return "the model has no tokenizer"
    return None


class CTranslate2:
    """The model at full depth, converted by CTranslate2's own converter in a folder that is gone afterwards.

    Attributes:
        name: with the type that its weights are computed in.
        startup_seconds: for loading what was converted.
    """

    def __init__(self, model: EarlyExitModel, converted: Path, compute_type: str, threads: int) -> None:
        import ctranslate2

        self.name, self._model = f"CTranslate2 {compute_type}", model
        start = time.perf_counter()
        self._translator: Any = ctranslate2.Translator(
            str(converted), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        self.startup_seconds = time.perf_counter() - start

    @staticmethod
    def version() -> str:
        return metadata.version("ctranslate2")

    def generate(self, source: Sequence[int], max_new_tokens: int) -> list[int]:
        """Greedy token ids; an end-of-sequence token is not among them."""
        (result,) = self._translator.translate_batch(
            [self._model.pieces(source)], beam_size=1, max_decoding_length=max_new_tokens
        )
        ids: list[int] = self._model.tokenizer.convert_tokens_to_ids(result.hypotheses[0])
        return ids


def both_types(model: EarlyExitModel, threads: int) -> list[CTranslate2]:
    """CTranslate2 in float32 and int8, from one conversion."""
    from ctranslate2.converters import TransformersConverter

    with TemporaryDirectory(prefix="calm-bench-") as folder:
        saved, converted = Path(folder, "saved"), Path(folder, "converted")
        model.save(saved)
        TransformersConverter(str(saved)).convert(str(converted))
        return [CTranslate2(model, converted, compute_type, threads) for compute_type in ("float32", "int8")]
