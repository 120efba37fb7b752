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
        "frontier-seconds",
        "seconds-saved",
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
MOST_BYTES = 2_000_000
"""Of pictures in a page; where there are more of them they are links alone."""


@dataclass(frozen=True)
class Picture:
    """An entry of a section: its title, the paper's item, its files by kind, and its picture if the page holds it."""

    title: str
    paper: str
    files: tuple[tuple[str, str], ...]
    svg: Markup | None

    @property
    def wide(self) -> bool:
        """Whether the figure is as wide as both columns of a page."""
        width = re.search(r'viewBox="0 0 ([0-9.]+)', self.svg or "")
        return width is not None and float(width[1]) > 72 * (COLUMN + PAGE) / 2


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
        by_question[_question(entry.stem)].append(Picture(entry.title, entry.paper, files, picture))
    return [(question, pictures) for question, pictures in by_question.items() if pictures]


def _question(stem: str) -> str:
    return next((question for question, stems in QUESTIONS.items() if stem in stems), OTHERS)
