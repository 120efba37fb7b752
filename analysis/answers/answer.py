"""What an answer is, and how its sentences say whether the paper found the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.load import Records


@dataclass(frozen=True)
class Answer:
    """What runs of one question say.

    sentences: the answer, with its numbers and the paper's. rows: the table that they rest on, its header first. note:
    what the table's words mean, one line.
    """

    sentences: tuple[str, ...]
    rows: list[list[str]]
    note: str


@dataclass(frozen=True)
class Question:
    """How runs are answered: those that differ in the options `varied` alone (and in what is no result) together."""

    answer: Callable[[Records], Answer]
    varied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval; the ends are NaN where nothing says how sure it is."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, row: Mapping[Any, Any], name: str, times: float = 1.0) -> Estimate:
        """That of a table's columns NAME, NAME_low and NAME_high; what is missing or null is NaN."""
        ends = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
        return cls(*(np.nan if end is None else times * float(end) for end in ends))

    def __sub__(self, other: Estimate | float) -> Estimate:
        """The difference; of two estimates as if they were independent: for paired ones the interval is too wide."""
        if not isinstance(other, Estimate):
            return Estimate(self.value - other, self.low - other, self.high - other)
        value = self.value - other.value
        below = np.hypot(self.value - self.low, other.high - other.value)
        above = np.hypot(self.high - self.value, other.value - other.low)
        return Estimate(value, value - float(below), value + float(above))

    def __neg__(self) -> Estimate:
        """The same difference the other way round."""
        return Estimate(-self.value, -self.high, -self.low)

    def shown(self, form: str = ".2f") -> str:
        """1.20 (1.10 to 1.30); without an interval the number alone."""
        text = format(self.value, form)
        return text if np.isnan(self.low) else f"{text} ({format(self.low, form)} to {format(self.high, form)})"

    def verdict(self, n: int) -> str:
        """Whether a difference that the paper found to be above 0 is so here, where n examples say it."""
        if self.low > 0:
            return "as in the paper"
        return "unlike the paper" if self.high < 0 else too_few(n)

    def beside(self, published: float, n: int) -> str:
        """How a share in percent stands to a published one."""
        if self.low > published:
            return f"more than the paper's {published:.1f}%"
        if self.high < published:
            return f"less than the paper's {published:.1f}%"
        return f"the paper {published:.1f}%, {too_few(n)} them apart"


def too_few(n: int) -> str:
    """What is said where an interval leaves both open."""
    return f"n = {n} is too small to tell"


def tally(differences: list[Estimate], n: int) -> tuple[int, int, str]:
    """How many of these are surely above and below 0, and the verdict where the paper has all of them above."""
    above, below = sum(one.low > 0 for one in differences), sum(one.high < 0 for one in differences)
    if above and below:
        return above, below, "in part unlike the paper"
    if not above and not below:
        return above, below, too_few(n)
    return above, below, "as in the paper" if above else "unlike the paper"
