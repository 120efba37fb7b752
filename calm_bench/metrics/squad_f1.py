"""Token F1 and exact match of SQuAD 1.1, with the normalisation of its official evaluation script."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from calm_bench.metrics.metric import Metric

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """Lower case, without ASCII punctuation, without the articles a, an, the, words joined by single spaces."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


class SquadF1(Metric):
    """Token F1, the best over the answers.

    Two answers that both normalise to nothing ("the", "...") agree, as in the script of SQuAD 2.0; that of 1.1 gives
    them an F1 of 0, and a text would then differ from itself.
    """

    name = "F1"
    description = "SQuAD token F1, best answer"

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return [max(_f1(normalise(prediction).split(), normalise(answer).split()) for answer in references)]


class ExactMatch(Metric):
    """1 when the normalised prediction is one of the normalised answers, else 0."""

    name = "EM"
    description = "SQuAD exact match, best answer"

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        return [float(normalise(prediction) in map(normalise, references))]


def _f1(prediction: list[str], answer: list[str]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    common = (Counter(prediction) & Counter(answer)).total()
    return 2 * common / (len(prediction) + len(answer))
