"""Standard output and error that cannot end a run: any encoding, a pipe that nobody reads, a full disk."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from contextlib import suppress

WIDTH = 120  # letters of a line


def prepare() -> None:
    """Called once by a command, before anything is printed or drawn."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # what it leads to by now cannot be sought in
                stream.reconfigure(errors="backslashreplace")  # δ, where the locale has none
    os.environ["MPLBACKEND"] = "Agg"  # a notebook hands its own to the commands that it starts


def say(text: str) -> None:
    """Print to standard output if it can be written; a reader that has gone needs no word about it."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(f"calm-bench: standard output: {error.strerror}")
        silence()


def complain(line: str) -> None:
    """Print to standard error, if it can be written."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def silence() -> None:
    """Lead standard output nowhere, or Python would write to it again at its end, and exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def folded(sentence: str) -> str:
    """A sentence in lines that a terminal does not break, all but the first indented."""
    return textwrap.fill(sentence, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
