"""chrF: character n-gram F-score, the similarity for translation that needs no weights (Popovic 2015)."""

from collections.abc import Sequence

import sacrebleu
from sacrebleu.metrics.chrf import CHRF

from calm_bench.metrics.metric import Metric


class ChrF(Metric):
    """chrF2 of each sentence, the best over its references; the quality of a set is the mean of its sentences.

    sacrebleu ignores whitespace and gives 0 to an empty sentence; only an identical string is set to exactly 1.
    """

    name = "chrF"
    description = (
        "sacrebleu chrF2, mean of sentences, best reference"
        f"|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}"
    )

    def __init__(self) -> None:
        self._chrf = CHRF()

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        if prediction in references:
            return [1.0]
        return [min(self._chrf.sentence_score(prediction, references).score / 100, 1.0)]
