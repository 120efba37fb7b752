"""The figures and tables beside the page, by the question that they answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from analysis.outputs import Made
from analysis.report.drawing import inlined
from analysis.style import COLUMN, PAGE

QUESTIONS = {
    "What does stopping early save?": (
        "card",
        "frontier",
        "frontier-flops",
        "frontier-tasks",
        "frontier-seconds",
        "seconds-saved",
        "speed",
        "efficiency",
        "scores",
    ),
    "Do the promises hold?": ("certified", "consistency-textual", "consistency-risk", "broken-promises", "methods"),
    "Where do tokens leave?": ("exit-histogram", "exit-by-position", "coloured-text", "data"),
    "Can the confidence be trusted?": ("reliability", "classifier"),
    "What do the paper's choices change?": ("decay-points", "threshold-decay", "state-copying", "perturbation"),
}
OTHERS = "More"
ABOVE = ("frontier",)
"""What the page draws where it speaks of each group; here it is links alone."""
TABLED_ABOVE = ("certified",)
"""The same of tables."""
MOST_BYTES = 2_000_000
"""Of pictures in a page; where there are more of them they are links alone."""
MOST_ROWS, OPEN_ROWS = 300, 16
"""Of a table in a page; one with more is links alone, or at first closed."""


@dataclass(frozen=True)
class Picture:
    """An entry of a section: its title, the paper's item, its files by kind, its picture or table if the page has it.

    rows: of the table, its header first. note: what stands below it.
    """

    title: str
    paper: str
    files: tuple[tuple[str, str], ...]
    svg: Markup | None
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""

    @property
    def wide(self) -> bool:
        """Whether the figure is as wide as both columns of a page."""
        width = re.search(r'viewBox="0 0 ([0-9.]+)', self.svg or "")
        return width is not None and float(width[1]) > 72 * (COLUMN + PAGE) / 2

    @property
    def opened(self) -> bool:
        """Whether a table is short enough to be seen at once."""
        return len(self.rows) <= OPEN_ROWS


def sections(made: Sequence[Made], folder: Path) -> list[tuple[str, list[Picture]]]:
    """The questions that something in `folder` answers, each with its figures and tables."""
    drawn = [entry for entry in made if entry.stem not in ABOVE]
    vectors = [folder / file for entry in drawn for file in entry.files if file.endswith(".svg")]
    held = sum(file.stat().st_size for file in vectors) <= MOST_BYTES
    by_question: dict[str, list[Picture]] = {question: [] for question in (*QUESTIONS, OTHERS)}
    for entry in made:
        svg = next((file for file in entry.files if file.endswith(".svg")), None)
        picture = (
            inlined((folder / svg).read_text(encoding="utf-8"), entry.title)
            if svg and held and entry in drawn
            else None
        )
        files = tuple((file.rsplit(".", 1)[-1].upper(), file) for file in entry.files)
        markdown = next((file for file in entry.files if file.endswith(".md")), None)
        rows, note = (
            tabled((folder / markdown).read_text(encoding="utf-8"))
            if markdown and entry.stem not in TABLED_ABOVE
            else ((), "")
        )
        by_question[_question(entry.stem)].append(Picture(entry.title, entry.paper, files, picture, rows, note))
    return [(question, pictures) for question, pictures in by_question.items() if pictures]


def tabled(markdown: str) -> tuple[tuple[tuple[str, ...], ...], str]:
    """The rows of a table that `tables.formats` has written, its header first, and the note; none if it is long."""
    lines, _, below = markdown.partition("\n\n")
    rows = tuple(tuple(map(str.strip, line.strip("|").split("|"))) for line in lines.splitlines())
    return ((rows[0], *rows[2:]), below.partition("\n\n")[0]) if len(rows) <= MOST_ROWS else ((), "")


def _question(stem: str) -> str:
    return next((question for question, stems in QUESTIONS.items() if stem in stems), OTHERS)
