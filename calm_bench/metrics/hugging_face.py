"""A metric of ours for whoever works with Hugging Face's `evaluate`. A run never imports it: it takes seconds."""

from collections.abc import Sequence

import datasets
import evaluate

from calm_bench.metrics.metric import Metric


class Evaluated(evaluate.Metric):
    """`compute(predictions=..., references=...)` gives {metric.name: 0..100}; `evaluate.combine` takes it, too."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        super().__init__(keep_in_memory=True)  # else evaluate writes an Arrow file and a lock per computation

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.List(text)})
        about = self._metric.description
        return evaluate.MetricInfo(description=about, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        metric = self._metric
        return {metric.name: metric.aggregate(metric.statistics(predictions, references))}
