"""Training pairs as token ids: made once, kept in files, and read in an order that pads little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from torch.utils.data import Dataset, Sampler

from calm_bench import processes
from calm_bench.models.model import EarlyExitModel

Pair = dict[str, list[int]]
SIDES = {"source": "input_ids", "target": "labels"}
SORTED_TOGETHER = 50  # steps whose pairs are sorted by length


class Pairs(Protocol):
    """`input_ids` and `labels` of each pair, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...


class TokenizedPairs(Dataset[Pair]):
    """Pairs of text as token ids, read from files when they are asked for: a set of any size takes little memory."""

    def __init__(self, folder: Path) -> None:
        """`folder` is one that `write` has filled."""
        self._ids = {name: np.memmap(folder / f"{name}.ids", np.int32, "r") for name in SIDES.values()}
        self._ends = {name: np.fromfile(folder / f"{name}.ends", np.int64) for name in SIDES.values()}

    @classmethod
    def kept(
        cls, folder: Path, model: EarlyExitModel, texts: Iterable[Mapping[str, list[str]]], lengths: Mapping[str, int]
    ) -> Self:
        """The pairs that `folder` keeps; tokenised and kept there first, by the first process, where it has none.

        Args:
            texts: batches of rows, with the columns source and target.
            lengths: to how many tokens each of these two is cut.
        """
        if processes.is_first() and not folder.is_dir():
            write(folder, model, texts, lengths)
        processes.wait()
        return cls(folder)

    def __len__(self) -> int:
        return len(self._ends["labels"])

    def __getitem__(self, index: int) -> Pair:
        return {
            name: self._ids[name][ends[index - 1] if index else 0 : ends[index]].tolist()
            for name, ends in self._ends.items()
        }


def write(
    folder: Path, model: EarlyExitModel, texts: Iterable[Mapping[str, list[str]]], lengths: Mapping[str, int]
) -> None:
    """For each side a file with the ids of all texts (int32), and one with their ends in it (int64).

    `folder` is there once they are complete.
    """
    growing = folder.with_name(f"{folder.name}.tmp")
    growing.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, list[int]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        files = {side: stack.enter_context((growing / f"{name}.ids").open("wb")) for side, name in SIDES.items()}
        for batch in texts:
            for side, file in files.items():
                tokens = model.tokenize(batch[side], lengths[side])
                sizes[side] += map(len, tokens)
                file.write(np.concatenate(tokens).astype(np.int32).tobytes())
    for side, name in SIDES.items():
        np.cumsum(sizes[side], dtype=np.int64).tofile(growing / f"{name}.ends")
    growing.rename(folder)


class ByLength(Sampler[int]):
    """A random order, another one each epoch, in which the pairs of a step are about equally long.

    The pairs of `SORTED_TOGETHER` steps, drawn at random, are sorted by length and cut into steps, whose order is
    random again. Padding of short pairs to the longest of thousands would be most of what is computed.
    """

    def __init__(self, pairs: Pairs, together: int, seed: int) -> None:
        """`together`: pairs a step, in all processes and accumulated batches. `mean_targets`: target tokens a pair."""
        sides = np.array(
            [[len(pair["input_ids"]), len(pair["labels"])] for pair in map(pairs.__getitem__, range(len(pairs)))]
        )
        self._lengths, self.mean_targets = sides.sum(1), float(sides[:, 1].mean())
        self._together, self._seed, self._epoch = together, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Torch's name for: what follows is the order of this epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(len(self._lengths))
        drawn = self._together * SORTED_TOGETHER
        groups = (order[start : start + drawn] for start in range(0, len(order), drawn))
        order = np.concatenate([group[np.argsort(self._lengths[group], kind="stable")] for group in groups])
        steps = [order[start : start + self._together] for start in range(0, len(order), self._together)]
        whole, rest = (steps[:-1], steps[-1:]) if len(steps[-1]) < self._together else (steps, [])
        shuffled = [whole[number] for number in random.permutation(len(whole))]
        return iter(np.concatenate([*shuffled, *rest]).tolist())
