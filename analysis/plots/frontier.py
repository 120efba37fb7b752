"""Quality against mean exit layer, FLOPs or seconds (Fig. 3 and B.6 of the paper)."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import pooling, style
from analysis.load import Records
from analysis.output import Output
from calm_bench.errors import InputError


def frontier(
    frame: pd.DataFrame, x: str = "mean_exit_layer", *, quality: str = "score", bands: str = "95% intervals over texts"
) -> Figure:
    """Quality (0..100) of every rule against what it costs, one curve per measure with its interval as a band.

    frame: rows of frontier.parquet of one group (`Records.of(group).frontier`).
    x: "mean_exit_layer", "flops_reduction", "flops_reduction_t5", "seconds" or "speedup".
    quality: the score's name, for the axis. bands: what the intervals are, in words. The oracle, the full model and
    speculative rules are points; a dotted line carries the full model's score across.

    Raises:
        InputError: x is none of these, or no rule has it.
    """
    if x not in style.AXIS:
        raise InputError(f"x={x!r}: expected one of {', '.join(style.AXIS)}")
    points = frame[frame[x].notna() & frame["score"].notna()]
    if not points["measure"].isin(style.ADAPTIVE).any() and not (~points["measure"].isin(style.COLOURS)).any():
        raise InputError(f"no rule of an adaptive measure has {x} in frontier.parquet")
    with style.context():
        fig, axes = style.figure(height=2.9)
        ax: Axes = axes[0, 0]
        for measure in style.ordered(points["measure"]):
            rows = points[points["measure"] == measure]
            if measure in ("oracle", "full"):
                _point(ax, measure, rows.iloc[0], x)
            else:
                style.line(ax, measure, rows[x], rows["score"], rows["score_low"], rows["score_high"])
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=x == "mean_exit_layer"))
        ax.set_xlabel(style.AXIS[x])
        ax.set_ylabel(f"{quality} (0 to 100)")
        ax.set_title(style.caption(frame, f"n = {int(points['n'].max())}", f"bands: {bands}"))
        style.legend(fig, ax)
    return fig


def _point(ax: Axes, measure: str, row: pd.Series, x: str) -> None:
    colour, marker = style.look(measure)
    below, above = max(0.0, row["score"] - row["score_low"]), max(0.0, row["score_high"] - row["score"])
    errors = [[below], [above]] if pd.notna(below) and pd.notna(above) else None
    size = 9 if measure == "oracle" else 7
    ax.errorbar(
        [row[x]],
        [row["score"]],
        yerr=errors,
        fmt=marker,
        color=colour,
        markersize=size,
        elinewidth=0.8,
        label=measure,
        zorder=3,
    )
    if measure == "full":
        ax.axhline(row["score"], color=colour, linestyle=":", linewidth=0.8, zorder=1)


def _of(x: str) -> Callable[[Records], Figure]:
    return lambda part: frontier(pooling.frontier(part), x, quality=part.quality, bands=pooling.bands(part))


OUTPUTS = (
    Output("frontier", "Quality against layers", "Fig. 3, B.6", _of("mean_exit_layer")),
    Output("frontier-flops", "Quality against FLOPs", "", _of("flops_reduction")),
    Output("frontier-seconds", "Quality against seconds", "", _of("seconds")),
)
