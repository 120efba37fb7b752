"""Span corruption: T5's pre-training, in which a model fills in what was cut out of a text."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from calm_bench.tasks.task import Example, Task


class SpanCorruption(Task):
    """Plain text in the column `text`; some spans of words are cut out, and are the target.

    As T5's unsupervised objective (Raffel et al. 2020, section 3.1.4), in words instead of tokens: "Thank you for
    inviting me to your party" gives the source "Thank you <extra_id_0> me to your party" and the target "<extra_id_0>
    for inviting <extra_id_1>". What is cut depends on the row alone, so that it is the same whenever it is read.
    """

    columns = ("text",)
    rate: ClassVar[float] = 0.15
    """Share of the words that are cut out; at least one word is, and one stays."""
    mean_span: ClassVar[float] = 3.0
    """Words of a span, in the mean."""
    most_words: ClassVar[int] = 250
    """A longer text gives a window of this many words, so that its source is not cut short where its target goes on."""

    def example(self, row: Mapping[str, Any], row_id: str) -> Example:
        digest = hashlib.sha256(f"{row_id}\0{row['text']}".encode()).digest()
        words = row["text"].split()
        generator = np.random.default_rng(np.frombuffer(digest, np.uint64))
        first = int(generator.integers(max(1, len(words) - self.most_words + 1)))
        source, target = corrupt(words[first : first + self.most_words], self.rate, self.mean_span, generator)
        return Example(id=row_id, source=self.prompt + source, target=target, references=(target,))

    def trivial(self, examples: Sequence[Example]) -> tuple[str, list[str]]:
        """What stands before the first gap."""
        sources = [example.source.removeprefix(self.prompt) for example in examples]
        return "the words before the first gap", [source.partition(f" {_sentinel(0)}")[0] for source in sources]


def corrupt(words: Sequence[str], rate: float, mean_span: float, generator: np.random.Generator) -> tuple[str, str]:
    """The words without some spans of them, and those spans; a sentinel stands for each, and one ends the target.

    Fewer than two words stay whole: the target is the first sentinel alone.
    """
    if len(words) < 2:
        return " ".join(words), _sentinel(0)
    cut = min(len(words) - 1, max(1, round(rate * len(words))))
    spans = min(cut, len(words) - cut, max(1, round(cut / mean_span)))
    stays, goes = _parts(len(words) - cut, spans, generator), _parts(cut, spans, generator)
    source, target, at = [], [], 0
    for number, (stay, go) in enumerate(zip(stays, goes, strict=True)):
        source += [*words[at : at + stay], _sentinel(number)]
        target += [_sentinel(number), *words[at + stay : at + stay + go]]
        at += stay + go
    return " ".join([*source, *words[at:]]), " ".join([*target, _sentinel(spans)])


def _parts(total: int, count: int, generator: np.random.Generator) -> list[int]:
    """`total` as a sum of `count` whole numbers, at least 1 each, every such sum alike."""
    ends = np.sort(generator.choice(total - 1, count - 1, replace=False)) + 1
    parts: list[int] = np.diff([0, *ends.tolist(), total]).tolist()
    return parts


def _sentinel(number: int) -> str:
    """As T5's own tokenizer has it; one that is trained here learns its pieces."""
    return f"<extra_id_{number}>"
