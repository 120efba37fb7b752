"""Quality against mean exit layer, FLOPs or seconds (Fig. 3 and B.6 of the paper), of one task or several."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import pooling, rules, scopes, style
from analysis.load import Records
from analysis.output import Drawn, Output
from calm_bench.errors import InputError

OVER_TEXTS = "95% intervals over texts"
LINE = 0.055  # height of a line of small print, as a share of the axes
REDUCTIONS = ("flops_reduction", "flops_reduction_t5", "speedup")  # the more, the cheaper


def frontier(
    frame: pd.DataFrame,
    x: str = "mean_exit_layer",
    *,
    quality: str = "score",
    bands: str = OVER_TEXTS,
    certified: pd.DataFrame | None = None,
    hardware: str = "",
) -> Figure:
    """Quality (0..100) of every rule against what it costs, one curve per measure with its interval as a band.

    frame: rows of frontier.parquet of one group (`Records.of(group).frontier`).
    x: "mean_exit_layer", "flops_reduction", "flops_reduction_t5", "seconds" or "speedup"; cheaper is on the left.
    quality: the score's name, for the axis. bands: what the intervals are, in words. certified: rules, by measure and
    threshold; each measure's cheapest has a ring, and its λ stands in the corner. hardware: whose seconds, for the
    title. The oracle, the full model and speculative rules are points; a dotted line carries the full model's score
    across. Where a fixed layer beats a measure at equal cost, the title says so.

    Raises:
        InputError: x is none of these, or no rule has it.
    """
    if x not in style.AXIS:
        raise InputError(f"x={x!r}: expected one of {', '.join(style.AXIS)}")
    points = frame[frame[x].notna() & frame["score"].notna()]
    if points["measure"].isin(style.BASELINES).all():
        raise InputError(f"no rule of an adaptive measure has {x} in frontier.parquet")
    with style.context():
        fig, axes = style.figure(height=3.1)
        ax: Axes = axes[0, 0]
        far = _far(points, x)
        _panel(ax, points[~points["measure"].isin(far)], x, certified)
        ax.set_ylabel(f"{quality} (0 to 100)")
        counted, beaten = style.counted(int(points["n"].max())), _beaten(points, x)
        said = (counted, hardware, f"bands: {bands}", beaten, _outside(points, far, x))
        ax.set_title(style.caption(frame, *said))
        style.legend(fig, ax)
    return fig


def frontiers(frames: dict[str, tuple[pd.DataFrame, str]], x: str = "mean_exit_layer") -> Figure:
    """The frontiers of several groups side by side, as the paper has its tasks.

    frames: by label, the group's frontier and its score's name.
    """
    columns = min(3, len(frames))
    lines = -(-len(frames) // columns)
    with style.context():
        fig, axes = style.figure(lines, columns, width=style.PAGE, height=0.5 + 2.3 * lines)
        for ax, (label, (frame, quality)) in zip(axes.flat, frames.items(), strict=False):
            points = frame[frame[x].notna() & frame["score"].notna()]
            far = _far(points, x)
            _panel(ax, points[~points["measure"].isin(far)], x, None)
            ax.set_ylabel(f"{quality} (0 to 100)")
            said = filter(None, (label, style.counted(int(frame["n"].max())), _outside(points, far, x)))
            ax.set_title(style.wrapped(", ".join(said), 0.8 * style.PAGE / columns))  # beside its axis
        for ax in axes.flat[len(frames) :]:
            ax.set_visible(False)
        fuller = max(axes.flat[: len(frames)], key=lambda ax: len(ax.get_legend_handles_labels()[1]))
        style.legend(fig, fuller, columns=6)
    return fig


def _panel(ax: Axes, points: pd.DataFrame, x: str, certified: pd.DataFrame | None) -> None:
    scale = 1000 if x == "seconds" else 1
    for measure in style.ordered(points["measure"]):
        rows = points[points["measure"] == measure]
        at = scale * rows[x]
        if measure in ("oracle", "full"):
            _point(ax, measure, rows.iloc[0], float(at.iloc[0]))
            continue
        style.line(ax, measure, at, rows["score"], rows["score_low"], rows["score_high"])
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=x == "mean_exit_layer"))
    ax.set_xlabel(style.AXIS[x])
    if x in REDUCTIONS:
        ax.invert_xaxis()
    if certified is not None:
        _ring(ax, points.assign(at=scale * points[x]), certified)


def _ring(ax: Axes, points: pd.DataFrame, certified: pd.DataFrame) -> None:
    """A ring around each measure's cheapest certified rule, and which that is in a corner that is kept empty."""
    said = [("cheapest certified rule (ring):", style.INK)]
    for measure in style.ordered(certified["measure"]):
        named = certified.loc[certified["measure"] == measure, "threshold"]
        rows = points[(points["measure"] == measure) & points["threshold"].isin(set(named))]
        if not len(rows):
            continue
        rule, colour = rows.sort_values("mean_exit_layer").iloc[0], style.look(measure)[0]
        ax.plot(rule["at"], rule["score"], "o", color=colour, markersize=9, markerfacecolor="none", zorder=4)
        what = "layer" if measure == "static" else f"{measure}, λ ="
        said.append((f"{'static, ' * (measure == 'static')}{what} {rule['threshold']:g}", colour))
    if len(said) == 1:
        return
    _keep_empty(ax, points, 0.04 + LINE * len(said))
    for place, (text, colour) in enumerate(reversed(said)):
        ax.text(0.99, 0.02 + LINE * place, text, transform=ax.transAxes, ha="right", fontsize=6, color=colour)


def _keep_empty(ax: Axes, points: pd.DataFrame, height: float) -> None:
    """Lower the axis until no point lies in the lower right corner, half as wide as the axes and so high."""
    places = ax.transLimits.transform(points[["at", "score"]])
    lowest = points["score"][places[:, 0] > 0.5].min()
    low, high = ax.get_ylim()
    if lowest < low + height * (high - low):
        ax.set_ylim((lowest - height * high) / (1 - height), high)


def _point(ax: Axes, measure: str, row: pd.Series, at: float) -> None:
    colour, marker = style.look(measure)
    below, above = max(0.0, row["score"] - row["score_low"]), max(0.0, row["score_high"] - row["score"])
    errors = [[below], [above]] if pd.notna(below) and pd.notna(above) else None
    size = 9 if measure == "oracle" else 7
    ax.errorbar(
        [at], [row["score"]], yerr=errors, fmt=marker, color=colour, markersize=size, elinewidth=0.8, label=measure,
        zorder=3,
    )  # fmt: skip
    if measure == "full":
        ax.axhline(row["score"], color=colour, linestyle=":", linewidth=0.8, zorder=1)


def _far(points: pd.DataFrame, x: str) -> list[str]:
    """Measures all of whose rules cost so much more than the full model that an axis with them would hide the rest."""
    full = points.loc[points["measure"] == "full", x]
    if not len(full) or x in REDUCTIONS:
        return []
    least = points.groupby("measure")[x].min()
    return [str(measure) for measure in least.index[least > 1.3 * full.iloc[0]]]


def _outside(points: pd.DataFrame, far: list[str], x: str) -> str:
    """What is left out of the axes, and where it lies, in words."""
    least = points.groupby("measure")[x].min()
    unit = "{:.0f} ms" if x == "seconds" else "{:.1f} layers"
    said = [f"{name} ({unit.format(least[name] * (1000 if x == 'seconds' else 1))})" for name in far]
    return f"outside the axes: {', '.join(said)}" if said else ""


def _beaten(points: pd.DataFrame, x: str) -> str:
    """Which measures a fixed layer beats at most of the costs that both have, and whether the paper's Fig. 3 has it."""
    static = points[points["measure"] == "static"].sort_values(x)
    if len(static) < 2:
        return ""
    worse = []
    for measure in style.ordered(set(points["measure"]) - set(style.BASELINES)):
        rows = points[(points["measure"] == measure) & points[x].between(static[x].min(), static[x].max())]
        fixed = np.interp(rows[x], static[x], static["score"])
        if len(rows) and (fixed > rows["score"].to_numpy()).mean() > 0.5:
            worse.append(measure)
    where = {"mean_exit_layer": "layers", "seconds": "seconds"}.get(x, "cost")
    kind = "as in" if set(worse) <= {"state"} else "unlike"  # state often falls below static there, the others do not
    contrary = f", {kind} the paper's Fig. 3" if x == "mean_exit_layer" else ""
    return f"at equal {where} a fixed layer scores higher than {', '.join(worse)}{contrary}" if worse else ""


def _of(x: str) -> Callable[[Records], Drawn]:
    def drawn(part: Records) -> Drawn:
        frame = pooling.frontier(part)
        said = {"quality": part.quality, "bands": pooling.bands(part)}
        if x == "seconds":
            said["hardware"] = part.timed_on
        return Drawn(frontier(frame, x, **said, certified=rules.certified(part)), frame)

    return drawn


def _of_tasks(records: Records) -> Drawn:
    parts = {group: part for group, part in scopes.groups(records).items() if len(part.frontier)}
    frames = {group: (pooling.frontier(part), part.quality) for group, part in parts.items()}
    return Drawn(frontiers(frames), pd.concat([frame for frame, _ in frames.values()], ignore_index=True))


def _several_tasks(records: Records) -> scopes.Parts:
    """The runs of all tasks at once, where there are several."""
    return {label: part for label, part in scopes.ordinary(records).items() if part.runs["task"].nunique() > 1}


OUTPUTS = (
    Output("frontier-tasks", "Quality against layers, by task", "Fig. 3", _of_tasks, _several_tasks),
    Output("frontier", "Quality against layers", "Fig. 3, B.6", _of("mean_exit_layer")),
    Output("frontier-flops", "Quality against FLOPs", "", _of("flops_reduction")),
    Output("frontier-seconds", "Quality against seconds", "", _of("seconds")),
)
