"""Wall-clock seconds, honestly: arms interleaved in one process, warmed up apart, every raw time kept.

A timed generation and a recorded one execute the same path. An arm is anything that turns one source into a text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from calm_bench.progress import Progress

Source = Sequence[int]


@dataclass(frozen=True)
class Timed:
    """One generation: seconds in all and in the encoder, tokens written, their mean exit layer, the bytes of weights
    that were read (None where nobody counts them), and the tokens."""

    seconds: float
    encoder_seconds: float
    n_tokens: int
    mean_exit_layer: float
    weight_bytes: int | None
    token_ids: Sequence[int]


@dataclass(frozen=True)
class Arm:
    """Something to time: `run` takes a source's token ids.

    name: what kind of thing (`records.schema.TIMINGS`). rule: the number of the rule that it decodes under; None for a
    whole grid, whose `measure` is named instead. executor: what runs it. expected: by example, the tokens that should
    come out; what is not there is not compared.
    """

    name: str
    rule: int | None
    measure: str | None
    executor: str
    run: Callable[[Source], Timed]
    expected: Mapping[int, Sequence[int]] = field(default_factory=dict)


def time_arms(
    arms: Sequence[Arm],
    sources: Sequence[Source],
    examples: Sequence[int],
    *,
    repeats: int,
    warmup: int,
    threads: int,
    seed: int,
) -> pd.DataFrame:
    """Time every arm on every source at batch 1, `repeats` times; the timings table.

    Arms take turns within each source, in an order drawn anew each time, so that a drift of the machine meets all of
    them alike. `warmup` generations of each arm, of the longest sources, are thrown away first.
    """
    generator = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    total = repeats * len(sources) * len(arms)
    with thread_count(threads), Progress(total, "time", "text", stage="time") as bar:
        for arm in arms:
            for source in sorted(sources, key=len, reverse=True)[:warmup]:
                arm.run(source)
        for repeat in range(repeats):
            for example, source in zip(examples, sources, strict=True):
                for turn in generator.permutation(len(arms)):
                    arm = arms[turn]
                    timed = arm.run(source)
                    values = dict(vars(timed))
                    ids, wanted = values.pop("token_ids"), arm.expected.get(example)
                    rows.append(
                        {
                            "arm": arm.name,
                            "rule": arm.rule,
                            "measure": arm.measure,
                            "executor": arm.executor,
                            "example": example,
                            "repeat": repeat,
                            "order": len(rows),
                            **values,
                            "same_text": None if wanted is None else list(ids) == list(wanted),
                        }
                    )
                    bar.update()
    return pd.DataFrame(rows)


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Run PyTorch's CPU kernels on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def clock(device: torch.device) -> float:
    """Seconds on a clock that never goes back, once the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
