"""A text under several rules, each token on the colour of the layer at which it left (Fig. 4 and B.5 of the paper)."""

import dataclasses
import textwrap
import unicodedata

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import rules, style
from analysis.example import example
from analysis.load import Records
from analysis.output import Output
from calm_bench.errors import InputError

FONT, LINE, MARGIN = 7.0, 11.5, 6.0  # points
LETTER = 0.6021 * FONT  # width of a letter of DejaVu Sans Mono
WIDTH = int((72 * style.PAGE - 2 * MARGIN) / LETTER)  # letters in a line
MOST_LINES = 3  # of the source and of the reference


def coloured_text(frame: pd.DataFrame, layers: int, *, similarity: str = "similarity") -> Figure:
    """One block per rule: its text, and under it D, ΔR, mean layers and the rule's speedup.

    frame: tokens of one example as `analysis.example` gives them. layers: L of the model. Long texts wrap, and the
    figure grows with them. Texts are data: nothing in them is read as mathematics, and what cannot be printed is shown
    as a box.

    Raises:
        InputError: no tokens.
    """
    if not len(frame):
        raise InputError("no tokens to colour")
    first = frame.iloc[0]
    heads = [
        part
        for name, text in (("source", first["source"]), ("reference", first["reference"]))
        for part in wrapped(f"{name}: {printable(str(text))}")
    ]
    blocks = [
        (rows, lines_of(rows["piece"])) for _, rows in frame.groupby(["measure", "threshold"], sort=False, dropna=False)
    ]
    height = 2 * MARGIN + LINE * (len(heads) + sum(len(lines) + 1.6 for _, lines in blocks) + 2.3)
    with style.context():
        fig = Figure(figsize=(style.PAGE, height / 72))
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, 72 * style.PAGE), ylim=(height, 0))
        ax.set_axis_off()
        y = MARGIN + LINE / 2
        say(ax, y, style.caption(frame, f"text {printable(str(first['example_id']))}", width=style.PAGE), bold=True)
        for head in heads:
            y += LINE
            say(ax, y, head)
        colours = style.layer_colours(layers)
        for rows, lines in blocks:
            y += 1.3 * LINE
            exits = rows["exit_layer"].tolist()
            for line in lines:
                for token, column, text in line:
                    boxed(ax, y, column, text, colours[exits[token] - 1])
                y += LINE
            say(ax, y + 0.1 * LINE, _said(rows.iloc[0], similarity), bold=True)
            y += 0.3 * LINE
        scale(ax, y + 1.3 * LINE, colours)
    return fig


def scale(ax: Axes, y: float, colours: list[tuple[str, str]]) -> None:
    """Which colour is which exit layer, in a line; y in points."""
    say(ax, y, "exit layer")
    for layer, pair in enumerate(colours, start=1):
        boxed(ax, y, 10 + 4 * layer, f" {layer} ", pair)


def lines_of(pieces: "pd.Series[str]") -> list[list[tuple[int, int, str]]]:
    """Tokens laid out in lines of `WIDTH` letters, each as (token, column, text); "▁" before a word is a space.

    A token that is longer than a line is cut into several parts.
    """
    lines: list[list[tuple[int, int, str]]] = [[]]
    column = 0
    for token, piece in enumerate(pieces):
        text = printable(piece)
        word = text.lstrip("▁") or text
        column += text.startswith("▁") and column > 0
        most = WIDTH if _columns(word) <= len(word) else WIDTH // 2
        for start in range(0, len(word), most):
            part = word[start : start + most]
            if column + _columns(part) > WIDTH:
                lines.append([])
                column = 0
            lines[-1].append((token, column, part))
            column += _columns(part)
    return lines


def printable(text: str) -> str:
    """The text without what has no glyph of its own: control characters, line ends and the like become boxes."""
    return "".join(letter if letter.isprintable() else "□" for letter in text)


def _columns(text: str) -> int:
    """Widths in letters: East Asian wide characters take two, accents none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def wrapped(text: str) -> list[str]:
    """A source or reference in a few lines as wide as the figure."""
    return textwrap.wrap(text, int(1.1 * WIDTH), max_lines=MOST_LINES, placeholder=" …")


def _said(row: pd.Series, similarity: str) -> str:
    speed = "speedup not timed" if pd.isna(row["speedup"]) else f"speedup of the rule ×{row['speedup']:.2f}"
    return (
        f"{row['measure']}, λ = {row['threshold']:g}: D = {row['distance']:.2f} (1 - {similarity}), "
        f"ΔR = {row['risk']:+.2f}, {row['mean_exit_layer']:.1f} layers per token, {speed}"
    )


def say(ax: Axes, y: float, text: str, *, bold: bool = False) -> None:
    """A line of text at the left margin; y in points."""
    weight = "bold" if bold else "normal"
    ax.text(MARGIN, y, text, fontsize=FONT, weight=weight, va="center", parse_math=False)


def boxed(ax: Axes, y: float, column: int, text: str, colours: tuple[str, str]) -> None:
    """A token in its place in a line, on the colour of its layer (background, ink); y in points."""
    background, ink = colours
    x = MARGIN + column * LETTER
    ax.add_patch(
        Rectangle(
            (x, y - 0.45 * LINE), _columns(text) * LETTER, 0.9 * LINE, facecolor=background, edgecolor="white", lw=0.5
        )
    )
    ax.text(x, y, text, color=ink, fontsize=FONT, family="DejaVu Sans Mono", va="center", parse_math=False)


def _of(part: Records) -> Figure:
    tokens = example(dataclasses.replace(part, certificates=rules.own(part.certificates)))
    return coloured_text(tokens, part.layers, similarity=part.similarity)


OUTPUTS = (Output("coloured-text", "A text by exit layer", "Fig. 4, B.5", _of, lone=True),)
