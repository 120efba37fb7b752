"""Does a falling threshold fill the gaps between operating points (Fig. 2c of the paper)?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import scopes, style
from analysis.load import Records
from analysis.output import Drawn, Output, asked_by
from analysis.pooling import over_seeds
from calm_bench.errors import InputError

MARKERS = ("o", "s", "^", "D", "v", "X")


def decay_points(frame: pd.DataFrame, *, similarity: str = "similarity") -> Figure:
    """Similarity to the full model's text against mean layers, a point for each threshold, a curve for each tau.

    Below each measure's curves stand their points alone, a row for each tau, where gaps can be seen.

    frame: rows of frontier.parquet of runs that differ in `threshold.tau`, with that as the column tau. similarity: the
    metric's name, for the axis. The legend says how far apart two neighbouring thresholds lie at most, in similarity:
    the "cliff" of section 3.3.2; the title says where no falling threshold makes it smaller.

    Raises:
        InputError: no adaptive rule with a tau, or two runs with one tau.
    """
    points = frame[~frame["measure"].isin(style.BASELINES) & frame["tau"].notna()]
    if not len(points):
        raise InputError("no rule of an adaptive measure with threshold.tau set")
    for (tau, measure), rows in points.groupby(["tau", "measure"]):
        if rows["run_id"].nunique() > 1:
            first, second = rows["run_id"].unique()[:2]
            raise InputError(f"runs {first} and {second} both have tau={tau:g} for {measure}: give one of them")
    taus = sorted(points["tau"].astype(float).unique())
    measures = style.ordered(points["measure"])
    with style.context():
        height = 0.6 + 3.2 * len(measures)
        fig, axes = style.figure(
            2 * len(measures), 1, width=style.PAGE, height=height, sharex=True, height_ratios=[4, 1] * len(measures)
        )
        for ax, strip, measure in zip(axes[::2, 0], axes[1::2, 0], measures, strict=True):
            largest = {}
            for number, (tau, colour) in enumerate(zip(taus, style.graded(len(taus)), strict=True)):
                rows = points[(points["tau"] == tau) & (points["measure"] == measure)]
                rows = rows.sort_values("threshold", ascending=False)
                alike = 100 * (1 - rows["textual_loss"].to_numpy())
                if len(rows) > 1:
                    largest[tau] = np.abs(np.diff(alike)).max()
                ax.plot(
                    rows["mean_exit_layer"],
                    alike,
                    color=colour,
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=2.5,
                    linewidth=0.8,
                    label=f"τ = {tau:g}" + (f", largest step {largest[tau]:.1f}" if tau in largest else ""),
                )
                strip.plot(rows["mean_exit_layer"], np.full(len(rows), -number), "|", color=colour, markersize=7)
            ax.set_ylabel(f"{similarity} to the full text (0 to 100)")
            said = (measure, f"n = {int(points['n'].max())}", _contrary(largest))
            ax.set_title(style.caption(frame, *said, width=style.PAGE))
            ax.legend(loc="lower right")
            strip.set_yticks([-number for number in range(len(taus))], [f"τ = {tau:g}" for tau in taus])
            strip.set_ylim(0.6 - len(taus), 0.6)
            strip.grid(axis="y", visible=False)
        axes[-1, 0].set_xlabel(style.AXIS["mean_exit_layer"])
    return fig


def _contrary(largest: dict[float, float]) -> str:
    """Where no falling threshold makes the largest step smaller, in words."""
    falling = [step for tau, step in largest.items() if tau]
    if 0.0 not in largest or not falling or min(falling) < largest[0.0]:
        return ""
    return "no falling threshold has a smaller largest step here"


def _of(part: Records) -> Drawn:
    points = part.frontier.assign(tau=part.frontier["run_id"].map(part.setting("threshold.tau")))
    points = over_seeds(points, ["tau", "measure", "threshold"], of=["mean_exit_layer", "textual_loss"])
    return Drawn(decay_points(points, similarity=part.similarity), points)


OUTPUTS = (
    Output(
        "decay-points", "Similarity and layers by decay", "Fig. 2c", _of, scopes.apart("decay", "threshold.tau"),
        asked_by("decay"),
    ),
)  # fmt: skip
