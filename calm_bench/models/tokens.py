"""The tokens that begin, fill up and end a text, and what else a checkpoint says of generating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from calm_bench.errors import InputError

# Settings of generate() that change what is greedily the best, and the values at which they do nothing.
CHANGING: dict[str, Any] = {
    "num_beams": 1,
    "do_sample": False,
    "penalty_alpha": 0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "exponential_decay_length_penalty": None,
    "bad_words_ids": None,
    "force_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "guidance_scale": 1.0,
    "stop_strings": None,
}


@dataclass(frozen=True)
class GenerationTokens:
    """start: what the first step reads. pad: what follows a text that has ended. ends: any of them ends a text."""

    start: int
    pad: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, backbone: Any) -> GenerationTokens:
        """As generate() has them: from the generation configuration, and what it lacks from the model's.

        Raises InputError where a start, padding or end token is missing or not in the vocabulary.
        """
        sources = backbone.generation_config, backbone.config
        vocab: int = backbone.config.vocab_size

        def ids(*names: str) -> tuple[int, ...]:
            values = (getattr(source, name, None) for name in names for source in sources)
            value = next((value for value in values if value is not None), None)
            tokens = tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
            if not tokens or not all(isinstance(token, int) and 0 <= token < vocab for token in tokens):
                raise InputError(
                    f"{names[0]}={value} in the checkpoint's generation_config.json or config.json: must be given, and "
                    f"below {vocab}, the vocabulary's size"
                )
            return tokens

        start, pad = ids("decoder_start_token_id", "bos_token_id")[0], ids("pad_token_id")[0]
        return cls(start, pad, ids("eos_token_id"))

    def greedy(self) -> GenerationConfig:
        """What generate() must be told so that it writes the best token of each step, and nothing else."""
        return GenerationConfig(
            decoder_start_token_id=self.start, pad_token_id=self.pad, eos_token_id=list(self.ends), do_sample=False
        )


def not_greedy(config: GenerationConfig) -> dict[str, Any]:
    """The settings of a generation configuration that a greedy text cannot honour, by name."""
    settings = {name: getattr(config, name, None) for name in CHANGING}
    return {name: value for name, value in settings.items() if value not in (None, [], CHANGING[name])}
