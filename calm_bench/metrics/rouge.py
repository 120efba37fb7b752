"""ROUGE-Lsum as T5 computes it, which is what the CALM paper calls ROUGE-L: rouge_score, no stemming."""

from collections.abc import Sequence
from importlib.metadata import version

from rouge_score.rouge_scorer import RougeScorer

from calm_bench.metrics.metric import Metric


class RougeLsum(Metric):
    """F-measure of the summary-level longest common subsequence, the best over the references.

    Sentences end at a newline or, as in T5, at a full stop between spaces. Only the letters a-z and digits count, so
    rouge_score gives 0 to two texts without any; an identical string is set to exactly 1.
    """

    name = "ROUGE-Lsum"
    description = f'rouge_score rougeLsum F, nrefs:best|stemmer:no|sentences:" . "|version:{version("rouge_score")}'

    def __init__(self) -> None:
        super().__init__()
        self._rouge = RougeScorer(["rougeLsum"], use_stemmer=False)

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        if prediction in references:
            return [1.0]
        summaries = [_sentences(reference) for reference in references]
        return [self._rouge.score_multi(summaries, _sentences(prediction))["rougeLsum"].fmeasure]


def _sentences(summary: str) -> str:
    """One sentence per line."""
    return summary.replace(" . ", " .\n")
