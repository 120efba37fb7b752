"""What another calibration method would have certified, and how often it broke its promise."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import style
from analysis.load import Records
from analysis.output import Drawn, Output
from analysis.trials import trials
from calm_bench.calibration import METHODS
from calm_bench.calibration.promise import OBJECTIVES
from calm_bench.errors import InputError

LOOKS = {"ltt": ("#222222", "o"), "ucb": ("#E69F00", "v"), "crc": ("#56B4E9", "X"), "naive": ("#B8A800", "<")}
PROMISED = {"probability": "", "expectation": " (mean only)", "none": " (no promise)"}
COMPARED = ("ltt", "ucb", "crc")
CHANCE = "a held-out mean varies too: more than ε of them above δ need break no promise"


def compare_methods(frame: pd.DataFrame) -> Figure:
    """Above: mean layers against delta, one curve per method. Below: share of trials whose held-out loss exceeds delta.

    frame: rows of `analysis.trials` with several methods (names in METHODS) and one measure; a column of panels for
    each objective. Bands are one standard deviation over trials. The dashed line is epsilon, the share of failures that
    methods with a guarantee in probability allow; crc promises the mean loss in expectation only, so its share has no
    limit. The promise is about the mean of all texts there could be; that of the few held out varies around it, so that
    a tight method's share lies above epsilon without a promise broken.

    Raises:
        InputError: no trials, or several measures.
    """
    rows = frame[frame["trial"].notna() & frame["test_loss"].notna()]
    if rows["measure"].nunique() != 1:
        raise InputError(f"trials of one measure are compared; found {', '.join(rows['measure'].unique()) or 'none'}")
    rows = rows.assign(broken=(rows["test_loss"] > rows["delta"]).astype(float))
    objectives = sorted(rows["objective"].unique(), reverse=True)
    with style.context():
        width = style.PAGE if len(objectives) > 1 else style.COLUMN
        fig, axes = style.figure(2, len(objectives), width=width, height=4.0, sharex="col", sharey="row")
        for (above, below), objective in zip(axes.T, objectives, strict=True):
            for method in sorted(rows["method"].unique(), key=list(METHODS).index):
                colour, marker = LOOKS.get(method, style.look(method))
                by_delta = rows[(rows["objective"] == objective) & (rows["method"] == method)].groupby("delta")
                layers, spread = by_delta["mean_exit_layer"].mean(), by_delta["mean_exit_layer"].std(ddof=0)
                label = method + PROMISED[METHODS[method].guarantee]
                most = (layers + spread).clip(upper=rows["mean_exit_layer"].max())
                above.fill_between(layers.index, layers - spread, most, color=colour, alpha=0.12, linewidth=0)
                above.plot(layers.index, layers, color=colour, marker=marker, label=label)
                below.plot(layers.index, by_delta["broken"].mean(), color=colour, marker=marker, clip_on=False)
            for epsilon in rows["epsilon"].unique():
                below.axhline(epsilon, linestyle="--", color=style.INK, linewidth=0.8)
            above.set_title(f"{objective} consistency")
            below.set_xlabel("tolerance δ")
            below.set_xlim(left=0)
        axes[0, 0].set_ylabel("mean layers per token")
        axes[1, 0].set_ylabel("trials above δ, held out")
        axes[1, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes[1, 0].set_ylim(bottom=0)
        axes[1, 0].plot([], [], "--", color=style.INK, linewidth=0.8, label="ε, where promised")
        trials = rows.groupby(["objective", "method", "delta"]).size().max()
        said = (
            rows["measure"].iloc[0],
            f"ε = {rows['epsilon'].iloc[0]:g}",
            f"n = {rows['n_calibration'].max()}",
        )
        title = style.caption(frame, *said, f"{trials} trials", "bands: ± 1 sd over trials", width=width)
        fig.suptitle(f"{title}\n{style.wrapped(CHANCE, width)}", fontsize=8)
        handles = [*axes[0, 0].get_legend_handles_labels()[0], axes[1, 0].get_lines()[-1]]
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def _of(part: Records) -> Drawn:
    """Of the first measure alone."""
    first = style.ordered(part.rules.loc[part.rules["kind"] == "adaptive", "measure"])[:1]
    tried = [trials(part, objective, method=method, measures=first) for objective in OBJECTIVES for method in COMPARED]
    frame = pd.concat(tried, ignore_index=True)
    return Drawn(compare_methods(frame), frame)


OUTPUTS = (Output("methods", "Methods of calibration", "", _of, lone=True),)
