"""Empirical loss and layers against the tolerance, over the trials (Fig. B.1 to B.4 of the paper)."""

from collections.abc import Callable
from contextlib import suppress

import pandas as pd
from matplotlib.figure import Figure

from analysis import rules, style
from analysis.load import Records
from analysis.output import Drawn, Output
from analysis.trials import DELTAS, trials
from calm_bench.calibration.promise import Objective
from calm_bench.errors import InputError

LOSSES = {"textual": "distance\n1 - {}, 0 to 1", "risk": "score lost\n{}, 0 to 1"}


def consistency(frame: pd.DataFrame, objective: str, *, similarity: str = "similarity") -> Figure:
    """Above: mean test loss against delta, with the diagonal that the promise draws. Below: mean exit layer.

    frame: rows of certificates.parquet, or of `analysis.trials` for a finer grid of delta; only held-out trials count.
    objective: "textual" or "risk". similarity: the metric in the losses, for the axis.
    Bands are one standard deviation over trials, as in the paper. n counts the examples a trial calibrates on.

    Raises:
        InputError: no trial of this objective.
    """
    rows = frame[(frame["objective"] == objective) & frame["trial"].notna() & frame["test_loss"].notna()]
    if not len(rows):
        raise InputError(f"no trials with objective={objective} in the certificates")
    with style.context():
        fig, axes = style.figure(2, 1, height=4.2, sharex=True)
        for measure in style.ordered(rows["measure"]):
            by_delta = rows[rows["measure"] == measure].groupby("delta")
            for ax, column in zip(axes[:, 0], ("test_loss", "mean_exit_layer"), strict=True):
                mean = by_delta[column].mean()
                spread = by_delta[column].std(ddof=0)
                low, high = (mean - spread).clip(lower=0), (mean + spread).clip(upper=rows[column].max())
                style.line(ax, measure, mean.index.to_series(), mean, low, high)
        top, bottom = axes[:, 0]
        deltas = [0.0, float(rows["delta"].max())]
        top.plot(deltas, deltas, color=style.INK, linestyle="--", linewidth=0.8, label="allowed")
        top.set_ylim(bottom=0)
        top.set_xlim(left=0)
        top.set_ylabel(LOSSES[objective].format(similarity))
        bottom.set_ylabel("mean layers per token")
        bottom.set_xlabel("tolerance δ")
        n_trials = rows.groupby(["measure", "delta"]).size().max()
        epsilons = ", ".join(f"{value:g}" for value in sorted(rows["epsilon"].unique()))
        top.set_title(
            style.caption(frame, f"n = {rows['n_calibration'].max()}", f"ε = {epsilons}", f"{n_trials} trials")
            + "\nbands: ± 1 standard deviation over trials"
        )
        style.legend(fig, top, columns=4)
    return fig


def _of(objective: Objective) -> Callable[[Records], Drawn]:
    """The trials of the certificates, and where the losses are at hand more of them on a finer grid of delta."""

    def drawn(part: Records) -> Drawn:
        own = rules.own(part.certificates)
        shown = own[own["objective"] == objective]
        if len(part.draws) == 1:  # several seeds have trials enough
            with suppress(InputError):  # W&B's part of a run has no losses
                shown = trials(part, objective, deltas=sorted({*DELTAS[objective], *shown["delta"]}))
        return Drawn(consistency(shown, objective, similarity=part.similarity), shown)

    return drawn


OUTPUTS = (
    Output("consistency-textual", "Textual loss and layers against δ", "Fig. B.1, B.3, B.7", _of("textual")),
    Output("consistency-risk", "Risk loss and layers against δ", "Fig. B.2, B.4, B.8", _of("risk")),
)
