"""How every figure looks: one colour and one marker per measure, column widths, fonts, and what an axis is called."""

import textwrap
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any common colour blindness, and in print.
COLOURS = {
    "softmax": "#0072B2",
    "state": "#D55E00",
    "classifier": "#009E73",
    "mlp_classifier": "#E69F00",
    "static": "#7F7F7F",
    "speculative": "#56B4E9",
    "oracle": "#CC79A7",
    "full": "#222222",
}
MARKERS = {
    "softmax": "o",
    "state": "s",
    "classifier": "^",
    "mlp_classifier": "v",
    "static": "D",
    "speculative": "X",
    "oracle": "*",
    "full": "P",
}
DASHES = {"static": "--", "full": ":"}
MEASURES = tuple(COLOURS)
ADAPTIVE = ("softmax", "state", "classifier", "mlp_classifier")
BASELINES = ("static", "speculative", "oracle", "full")  # what stands in a measure's place for a rule that asks none
# For other measures, those from outside the package among them.
SPARE = (("#8C510A", ">"), ("#5AAE61", "p"), ("#B8A800", "<"))

COLUMN = 3.35
"""Width of one column of a two-column page, in inches."""
PAGE = 6.9
"""Width of both columns, in inches."""
FEW = 50
"""Texts; of fewer a figure says that they are few."""
FEWEST = 5
"""Points that a curve needs for a band between them; fewer have a bar each."""
INK = "#222222"
"""Colour of text and axes; the report swaps it for the page's own text colour."""

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold any text, a dollar sign among them
    "svg.hashsalt": "calm-bench",
}

AXIS = {
    "mean_exit_layer": "mean decoder layers per token",
    "flops_reduction": "cheaper ←   decoder FLOPs reduction (full / early)",
    "flops_reduction_t5": "cheaper ←   FLOPs reduction, T5 count (full / early)",
    "seconds": "milliseconds per text (batch 1)",
    "speedup": "faster ←   speedup (full / early)",
}


def look(measure: str) -> tuple[str, str]:
    """(colour, marker) of a measure, the same in every figure."""
    if measure in COLOURS:
        return COLOURS[measure], MARKERS[measure]
    return SPARE[sum(map(ord, measure)) % len(SPARE)]


def graded(count: int) -> list[str]:
    """Colours of `count` steps of one scale (layers, temperatures), dark to light, told apart in grey too."""
    return [to_hex(colour) for colour in mpl.colormaps["cividis"](np.linspace(0.0, 0.85, count))]


def layer_colours(layers: int) -> list[tuple[str, str]]:
    """For layers 1..L a background, pale for early and dark for late exits, and the text colour that reads on it."""
    pairs = []
    for colour in mpl.colormaps["cividis"](np.linspace(0.97, 0.08, layers)):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))  # WCAG's relative luminance
        dark_text = (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05)
        pairs.append((to_hex(colour), "#000000" if dark_text else "#ffffff"))
    return pairs


def ordered(measures: Iterable[str]) -> list[str]:
    """Measures in the order of every legend: the suite's own four, others by name, then the baselines."""
    known = {measure: place for place, measure in enumerate(ADAPTIVE)}
    last = {measure: place for place, measure in enumerate(BASELINES, start=101)}
    return sorted(set(measures), key=lambda m: (known.get(m, last.get(m, 50)), m))


def figure(
    rows: int = 1, columns: int = 1, *, width: float = COLUMN, height: float = 2.6, **axes: Any
) -> tuple[Figure, Any]:
    """A new (figure, axes array (rows, columns)), width and height in inches. Call it inside `context()`."""
    new = Figure(figsize=(width, height), layout="constrained")
    return new, new.subplots(rows, columns, squeeze=False, **axes)


def context() -> AbstractContextManager[None]:
    """The rc settings of every figure, as a context."""
    return mpl.rc_context(RC)


def line(ax: Axes, measure: str, x: pd.Series, y: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """One measure's curve with its band, of few points with a bar each; missing bounds leave the band open there."""
    colour, marker = look(measure)
    order = np.argsort(x.to_numpy(dtype=float), kind="stable")
    xs, ys, lows, highs = (part.to_numpy(dtype=float)[order] for part in (x, y, low, high))
    if len(xs) >= FEWEST:
        ax.fill_between(xs, lows, highs, color=colour, alpha=0.12, linewidth=0)
    else:
        ax.vlines(xs, lows, highs, color=colour, linewidth=0.8)
    ax.plot(xs, ys, DASHES.get(measure, "-"), color=colour, marker=marker, label=measure)


def counted(n: int) -> str:
    """ "n = 500", and a warning where so few texts say little."""
    return f"n = {n}" + (f" (fewer than {FEW} texts say little)" if n < FEW else "")


def legend(fig: Figure, ax: Axes, columns: int = 3) -> None:
    """One legend under the axes, so that it never covers data, in as many columns as the figure's width holds."""
    handles, labels = ax.get_legend_handles_labels()
    inches = 0.42 + 0.056 * max(map(len, labels), default=0)  # of a column: its sample and its longest label
    held = max(1, int(fig.get_figwidth() / inches))
    shown = min(columns, held, max(1, len(labels)))
    fig.set_figheight(fig.get_figheight() + 0.15 * max(0, -(-len(labels) // shown) - 2))
    fig.legend(handles, labels, loc="outside lower center", ncols=shown)


def caption(frame: pd.DataFrame, *more: str, width: float = COLUMN) -> str:
    """What a figure's title says: the experiment or task it shows, then `more`, such as n and epsilon.

    width: of the figure, in inches; longer titles wrap.
    """
    where = [str(frame[key].iloc[0]) for key in ("group",) if key in frame and len(frame)]
    return wrapped(", ".join([*where, *[part for part in more if part]]), width)


def wrapped(text: str, width: float = COLUMN) -> str:
    """A text in lines that a title of that width, in inches, can hold. What has a value stands on its line: n = 500."""
    joined = text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    filled = textwrap.fill(joined, int(44 * width / COLUMN), break_long_words=False)
    return filled.replace("\N{NO-BREAK SPACE}", " ")
