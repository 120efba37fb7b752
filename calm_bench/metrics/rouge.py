"""ROUGE as T5 computes it: rouge_score, no stemming. What the CALM paper calls ROUGE-L is ROUGE-Lsum."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

from rouge_score.rouge_scorer import RougeScorer

from calm_bench.metrics.metric import Metric


class Rouge(Metric):
    """F-measure of one kind of ROUGE, the best over the references.

    Sentences, which only ROUGE-Lsum knows, end at a newline or, as in T5, at a full stop between spaces. Only the
    letters a-z and digits count, so rouge_score gives 0 to two texts without any; an identical string is set to exactly
    1.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self._rouge = RougeScorer([self.kind], use_stemmer=False)

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        if prediction in references:
            return [1.0]
        summaries = [_sentences(reference) for reference in references]
        return [self._rouge.score_multi(summaries, _sentences(prediction))[self.kind].fmeasure]

    def unsuited(self, references: Sequence[Sequence[str]]) -> str | None:
        unread = sum(_mostly_unread(texts) for texts in references)
        if not unread:
            return None
        return (
            f"ROUGE reads the letters a-z and digits alone, and most letters are others in the references of {unread} "
            f"of {len(references)} examples: their scores say little; chrF and BLEU read all letters"
        )


def _description(kind: str) -> str:
    return f'rouge_score {kind} F, nrefs:best|stemmer:no|sentences:" . "|version:{version("rouge_score")}'


class Rouge1(Rouge):
    """Shared words."""

    name, kind, description = "ROUGE-1", "rouge1", _description("rouge1")


class Rouge2(Rouge):
    """Shared pairs of neighbouring words."""

    name, kind, description = "ROUGE-2", "rouge2", _description("rouge2")


class RougeL(Rouge):
    """The longest common subsequence of the whole texts."""

    name, kind, description = "ROUGE-L", "rougeL", _description("rougeL")


class RougeLsum(Rouge):
    """The union of the longest common subsequences of each sentence of the reference with all of the text's."""

    name, kind, description = "ROUGE-Lsum", "rougeLsum", _description("rougeLsum")


def _mostly_unread(texts: Sequence[str]) -> bool:
    """Whether rouge_score's tokeniser drops more than half of the letters and digits."""
    letters = [letter for text in texts for letter in text.lower() if letter.isalnum()]
    return 2 * sum(letter.isascii() for letter in letters) < len(letters)


def _sentences(summary: str) -> str:
    """One sentence per line."""
    return summary.replace(" . ", " .\n")
