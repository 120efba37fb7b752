"""A SentencePiece tokenizer for models that are trained from scratch."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedTokenizerBase

from calm_bench.errors import InputError


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A unigram tokenizer of `vocab_size` pieces, with T5's special tokens: 0 padding, 1 end of sequence, 2 unknown.

    The same texts in the same order give the same tokenizer. Raises InputError where the texts are too few for it.
    """
    import sentencepiece
    from transformers import T5Tokenizer

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            character_coverage=1.0,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rsplit("] ", 1)[-1]
        raise InputError(f"model.scratch.vocab_size={vocab_size} does not suit the training text: {reason}") from error
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spiece.model"
        path.write_bytes(model.getvalue())
        return T5Tokenizer.from_pretrained(folder, extra_ids=0)
