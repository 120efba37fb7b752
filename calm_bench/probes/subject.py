"""What a probe asks: a model on the examples of a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from calm_bench import processes, progress
from calm_bench.decoding.decoder import Decoder
from calm_bench.decoding.rule import Rule
from calm_bench.measures.measure import Measure
from calm_bench.models.model import EarlyExitModel, Forced
from calm_bench.tasks.task import Example, Task


@dataclass(frozen=True)
class Subject:
    """A decoder, E examples of a task, the confidence measures in use, and the seed of bootstrap intervals."""

    decoder: Decoder
    task: Task
    examples: Sequence[Example]
    measures: Sequence[Measure]
    seed: int

    @property
    def model(self) -> EarlyExitModel:
        """Whose states and texts are asked about."""
        return self.decoder.model

    @cached_property
    def sources(self) -> list[list[int]]:
        """Token ids of each example's source."""
        return self.model.tokenize([example.source for example in self.examples], self.task.max_source_tokens)

    def counted(self, batches: Iterable[Forced], title: str) -> Iterator[Forced]:
        """Batches of all examples, while it is shown how far along they are."""
        return progress.each(batches, len(self.examples), title, "text", lambda batch: len(batch.examples))

    @cached_property
    def texts(self) -> list[list[int]]:
        """Token ids of the full model's text for each example."""
        return full_texts(self.decoder, self.sources, self.task.max_new_tokens, title="full model's texts")


def full_texts(
    decoder: Decoder, sources: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int = 32, title: str = ""
) -> list[list[int]]:
    """What the full model writes for each source, padding left out. With a title it is shown how far along it is.

    On a CPU one rule is decoded sooner text by text in C than in batches.
    """
    if decoder.executor == "auto" and decoder.model.device.type == "cpu":
        decoder = decoder.preferring("native")
    with progress.Progress(len(sources), title, "text", shown=bool(title) and processes.is_first()) as bar:
        result = decoder.decode(sources, [Rule.full()], max_new_tokens, batch_size=batch_size, on_batch=bar.update)
    lengths = result.n_tokens[:, 0]
    return [ids[:length].tolist() for ids, length in zip(result.token_ids[:, 0], lengths, strict=True)]
