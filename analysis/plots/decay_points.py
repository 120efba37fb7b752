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

    frame: rows of frontier.parquet of runs that differ in `threshold.tau`, with that as the column tau. similarity: the
    metric's name, for the axis. The legend says how far apart two neighbouring thresholds lie at most, in similarity:
    the "cliff" of section 3.3.2.

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
        fig, axes = style.figure(len(measures), 1, width=style.PAGE, height=0.6 + 2.8 * len(measures), sharex=True)
        for ax, measure in zip(axes[:, 0], measures, strict=True):
            for number, (tau, colour) in enumerate(zip(taus, style.graded(len(taus)), strict=True)):
                rows = points[(points["tau"] == tau) & (points["measure"] == measure)]
                rows = rows.sort_values("threshold", ascending=False)
                alike = 100 * (1 - rows["textual_loss"].to_numpy())
                steps = np.abs(np.diff(alike))
                ax.plot(
                    rows["mean_exit_layer"],
                    alike,
                    color=colour,
                    marker=MARKERS[number % len(MARKERS)],
                    markerfacecolor="none",
                    markersize=4.5,
                    markeredgewidth=0.9,
                    linewidth=0.8,
                    label=f"τ = {tau:g}" + (f", largest step {steps.max():.1f}" if len(steps) else ""),
                )
            ax.set_ylabel(f"{similarity} to the full text (0 to 100)")
            ax.set_title(style.caption(frame, measure, f"n = {int(points['n'].max())}"))
            ax.legend(loc="lower right")
        axes[-1, 0].set_xlabel(style.AXIS["mean_exit_layer"])
    return fig


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
