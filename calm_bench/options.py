"""What an option may be: the types that `config.py` declares its options with, and the check of values against them.

A group of options is a dataclass below `Options`, and every number and word in it is declared as `Annotated[...]`: an
option that is not fails as soon as its group is built, so that a new one cannot forget its range.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Protocol, Union, get_args, get_origin, get_type_hints

from calm_bench.errors import InputError

MISSING: Any = "???"  # OmegaConf's mark of a value that the YAML files give
BILLION = 1_000_000_000


class Allowed(Protocol):
    """A set of values; its `str` completes the sentence "must be ..."."""

    def __contains__(self, value: Any, /) -> bool: ...


@dataclass(frozen=True)
class Interval:
    """Finite numbers between two bounds, which belong to it unless it is open there."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: Any) -> bool:
        if not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low, high = "above" if self.open_low else "at least", "below" if self.open_high else "at most"
        return f"{low} {self.low:.10g} and {high} {self.high:.10g}"


@dataclass(frozen=True)
class OneOf:
    """The words of a `Literal`, as `choices.py` declares them."""

    literal: Any

    def __contains__(self, value: Any) -> bool:
        return value in get_args(self.literal)

    def __str__(self) -> str:
        return f"one of {', '.join(get_args(self.literal))}"


@dataclass(frozen=True)
class Text:
    """Text of at most so many bytes that matches a pattern and is none of the words that mean something else."""

    pattern: str
    words: str
    longest: int
    taken: tuple[str, ...] = ()

    def __contains__(self, value: Any) -> bool:
        fits = re.fullmatch(self.pattern, value, re.DOTALL) is not None and value not in self.taken
        return fits and len(os.fsencode(value)) <= self.longest

    def __str__(self) -> str:
        return f"{self.words}, at most {self.longest} bytes"


@dataclass(frozen=True)
class Folders:
    """Paths that a file system takes."""

    def __contains__(self, value: Any) -> bool:
        longest = max(len(os.fsencode(part)) for part in value.split(os.sep))
        return bool(value) and not re.search(r"[\0\n\r]", value) and longest <= 255 and len(os.fsencode(value)) <= 3000

    def __str__(self) -> str:
        return "a path in one line, of at most 3000 bytes and 255 between two slashes"


Count = Annotated[int, Interval(0, BILLION)]
Size = Annotated[int, Interval(1, BILLION)]
Layer = Annotated[int, Interval(1, 10_000)]
Width = Annotated[int, Interval(1, 1_000_000)]
Tokens = Annotated[int, Interval(1, 65_536)]
Batch = Annotated[int, Interval(1, 65_536)]
Processes = Annotated[int, Interval(0, 1024)]
Threads = Annotated[int, Interval(1, 1024)]
Seed = Annotated[int, Interval(0, 2**32 - 1)]  # what every generator in use can begin from
Probability = Annotated[float, Interval(0, 1, open_low=True, open_high=True)]
Share = Annotated[float, Interval(0, 1, open_high=True)]
Threshold = Annotated[float, Interval(0, 1, open_low=True)]
Rate = Annotated[float, Interval(0, 1000, open_low=True)]
NonNegative = Annotated[float, Interval(0, 1000)]

# Names become names of folders, files and W&B's artifacts, which take no other letters.
NAME, LETTERS = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "letters a to z, digits, '_', '.' and '-', the first no '.' or '-'"
Name = Annotated[str, Text(NAME, LETTERS, 64)]
RunName = Annotated[str, Text(NAME, f"{LETTERS}, and neither 'stages' nor 'multirun'", 64, ("stages", "multirun"))]
HubName = Annotated[str, Text(r"[\w.-]+(/[\w.-]+)?", "OWNER/NAME as on the Hugging Face hub", 200)]
ClassPath = Annotated[str, Text(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", "the path of a class, such as module.Class", 300)]
Words = Annotated[str, Text(r"[^\0]*", "text", 10_000)]
WandbName = Annotated[str, Text(r"[^\0-\x1f/\\#?%:]+", "printable, without any of / \\ # ? % :", 128)]
WandbTag = Annotated[str, Text(r"[^\0-\x1f]+", "printable", 64)]
Path = Annotated[str, Folders()]


class Options:
    """A group of options: a dataclass whose values are checked as it is built.

    `group` is what stands before its options, "training" in `training.steps`, and "" for the top.
    """

    group: ClassVar[str]

    def __init_subclass__(cls, group: str) -> None:
        cls.group = group

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            check(f"{self.group}.{field.name}".removeprefix("."), getattr(self, field.name), hints[field.name])


def check(option: str, value: Any, hint: Any) -> None:
    """Raise InputError for a value outside what its type declares, and for one that stands twice in a list.

    Raises TypeError for a number or text whose type declares nothing.
    """
    if get_origin(hint) is Annotated:
        _, *allowed = get_args(hint)
        for values in allowed:
            if value is not None and value != MISSING and value not in values:
                raise InputError(f"{option}={_shown(value)} must be {values}")
    elif get_origin(hint) in (Union, UnionType):
        (kind,) = (kind for kind in get_args(hint) if kind is not NoneType)
        if value is not None:
            check(option, value, kind)
    elif get_origin(hint) is list:
        values = [] if value == MISSING else value
        for number, one in enumerate(values):
            check(option, one, get_args(hint)[0])
            if one in values[:number]:
                raise InputError(f"{option}: {_shown(one)} stands there twice")
    elif get_origin(hint) is dict:
        for key, one in value.items():
            check(f"{option}.{key}", one, get_args(hint)[1])
    elif hint not in (Any, bool) and not is_dataclass(hint):
        raise TypeError(f"{option}: say what it may be, as Annotated[{hint.__name__}, ...] in calm_bench/options.py")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
