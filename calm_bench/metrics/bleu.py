"""BLEU as T5 and the CALM paper report translation (sections 5 and 7): sacrebleu, tokenizer "intl", smoothing "exp"."""

from collections.abc import Sequence

import numpy as np
import sacrebleu
from sacrebleu.metrics.bleu import BLEU, MAX_NGRAM_ORDER

from calm_bench import bootstrap
from calm_bench.metrics.metric import Array, Metric


class Bleu(Metric):
    """Corpus BLEU, 0..100; any number of references per example.

    Statistics (n, 10): length, closest reference length, matching n-grams of orders 1 to 4, all n-grams of orders
    1 to 4. BLEU belongs to a corpus: `scores` are sentence BLEU with the effective order, and no part of a table.
    """

    name = "BLEU"
    description = f"sacrebleu BLEU|nrefs:var|case:mixed|eff:no|tok:intl|smooth:exp|version:{sacrebleu.__version__}"

    def __init__(self) -> None:
        # The effective order changes no count; without it sacrebleu warns at every sentence.
        self._bleu = BLEU(tokenize="intl", smooth_method="exp", effective_order=True)

    def pair(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        result = self._bleu.sentence_score(prediction, references)
        return [result.sys_len, result.ref_len, *result.counts, *result.totals]

    def aggregate(self, statistics: Array) -> float:
        return _bleu(statistics.sum(axis=0), effective_order=False)

    def draws(self, statistics: Array, resamples: int = 1000, seed: int = 0) -> Array:
        """As of every metric, from the sums of all draws at once; sacrebleu would take most of a run for them."""
        return _bleus(bootstrap.times(len(statistics), seed, resamples) @ statistics)

    def scores(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        statistics = self.statistics(predictions, references)
        scores = statistics[:, 0].copy()
        for index, (prediction, answers) in enumerate(zip(predictions, references, strict=True)):
            sentence = min(_bleu(statistics[index], effective_order=True) / 100, 1.0)
            scores[index] = 1.0 if prediction in answers else sentence
        return scores


def _bleu(sums: Array, effective_order: bool) -> float:
    """BLEU in 0..100 of summed statistics (10,)."""
    length, reference_length, *counts = (int(count) for count in sums)
    matches, totals = counts[:MAX_NGRAM_ORDER], counts[MAX_NGRAM_ORDER:]
    result = BLEU.compute_bleu(
        matches, totals, length, reference_length, smooth_method="exp", effective_order=effective_order
    )
    return float(result.score)


def _bleus(sums: Array) -> Array:
    """BLEU (n,) in 0..100 of n summed statistics (n, 10), as `_bleu` without the effective order."""
    (length, reference_length), (matches, totals) = sums[:, :2].T, (sums[:, 2:6], sums[:, 6:])
    halved = np.cumprod(np.where(matches == 0, 2.0, 1.0), axis=1)  # "exp": orders without a match count less and less
    with np.errstate(invalid="ignore", divide="ignore"):
        brevity = np.exp(np.minimum(1 - reference_length / length, 0))
        precisions = 100 * np.where(matches == 0, 1 / halved, matches) / totals
        scores = brevity * np.exp(np.log(precisions).mean(axis=1))
    return np.where(matches.any(axis=1) & totals.all(axis=1), scores, 0.0)
