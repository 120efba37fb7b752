"""The tokens that begin, fill up and end a text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GenerationTokens:
    """start: what the first step reads. pad: what follows a text that has ended. ends: any of them ends a text."""

    start: int
    pad: int
    ends: tuple[int, ...]
