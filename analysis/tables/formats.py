"""A table on disk in three formats: CSV for programs, Markdown for reading, LaTeX (booktabs) for a paper."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

Commands = Mapping[str, str]
UNKNOWN = "an unknown command"


@dataclass(frozen=True)
class Table:
    """A table to write: tidy numbers for programs, text cells for reading, and what stands below and is missing."""

    tidy: pd.DataFrame
    shown: pd.DataFrame
    note: str
    missing: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Its text cells as a table of Markdown."""
        return str(self.shown.to_markdown(index=False, disable_numparse=True, stralign="left"))


def write_table(stem: Path, table: Table, commands: Commands) -> tuple[str, ...]:
    """Write STEM.csv, STEM.md and STEM.tex; the file names.

    commands: run id to the command that made it, which the last two print below the note.
    """
    csv, markdown, latex = (stem.with_suffix(f".{kind}") for kind in ("csv", "md", "tex"))
    table.tidy.to_csv(csv, index=False)
    made = [f"{command or UNKNOWN}  # {run_id}" for run_id, command in commands.items()]
    block = "\n".join(["```", *made, "```"])
    markdown.write_text(f"{table.markdown()}\n\n{table.note}\n\nMade by:\n\n{block}\n", encoding="utf-8")
    body = table.shown.rename(columns=_escaped).map(lambda cell: _escaped(str(cell)))
    rules = body.style.hide(axis="index").to_latex(hrules=True, column_format="l" * body.shape[1])
    rules = rules.replace("δ", "$\\delta$")
    lines = [f"% {line}" for line in (table.note, "Made by:", *made)]
    latex.write_text(f"% needs \\usepackage{{booktabs}}\n{rules}" + "\n".join(lines) + "\n", encoding="utf-8")
    return csv.name, markdown.name, latex.name


def rounded(value: Any, digits: int = 2) -> str:
    """A number as text; nothing where there is none."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def with_interval(row: Mapping[Hashable, Any], column: str, digits: int = 2) -> str:
    """The value and its interval, COLUMN_low to COLUMN_high, as "1.20 (1.10 to 1.30)"; only what is known."""
    text = rounded(row[column], digits)
    low, high = (rounded(row.get(f"{column}_{end}"), digits) for end in ("low", "high"))
    return f"{text} ({low} to {high})" if low and high else text


def _escaped(text: str) -> str:
    for special in "&%$#_{}":
        text = text.replace(special, "\\" + special)
    return text
