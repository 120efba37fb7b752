"""In how many splits the held-out mean was above delta, against epsilon: a rough check of the guarantee."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import style
from analysis.load import Records
from analysis.output import Drawn, Output
from analysis.trials import trials
from calm_bench.calibration.promise import OBJECTIVES
from calm_bench.errors import InputError

EPSILONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


def broken_promises(frame: pd.DataFrame) -> Figure:
    """Share of trials whose held-out loss exceeds delta, against epsilon, one panel per objective and delta.

    frame: rows of certificates.parquet or of `analysis.trials`, which has several epsilon. A promise is about the true
    mean and may fail with probability epsilon, the dashed diagonal; held-out means of few texts scatter about it and
    trials of one set overlap, so that points above the diagonal refute nothing.

    Raises:
        InputError: no trials.
    """
    rows = frame[frame["trial"].notna() & frame["test_loss"].notna()]
    if not len(rows):
        raise InputError("no trials in the certificates")
    rows = rows.assign(broken=(rows["test_loss"] > rows["delta"]).astype(float))
    pairs = rows[["objective", "delta"]].drop_duplicates().itertuples(index=False, name=None)
    panels = sorted(
        ((str(objective), float(delta)) for objective, delta in pairs), key=lambda p: (p[0] != "textual", p[1])
    )
    columns = min(2, len(panels))
    with style.context():
        lines = -(-len(panels) // columns)
        fig, axes = style.figure(
            lines,
            columns,
            width=style.PAGE if columns > 1 else style.COLUMN,
            height=0.6 + 1.9 * lines,
            sharex=True,
            sharey=True,
        )
        most = float(rows["epsilon"].max())
        for ax, (objective, delta) in zip(axes.flat, panels, strict=False):
            panel = rows[(rows["objective"] == objective) & (rows["delta"] == delta)]
            for measure in style.ordered(panel["measure"]):
                share = panel[panel["measure"] == measure].groupby("epsilon")["broken"].mean()
                colour, marker = style.look(measure)
                ax.plot(share.index, share.to_numpy(), color=colour, marker=marker, label=measure, clip_on=False)
            ax.plot([0, most], [0, most], color=style.INK, linestyle="--", linewidth=0.8, label="share = ε")
            ax.set_title(f"{objective}, δ = {delta:g}")
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        axes[0, 0].set_xlim(left=0)
        axes[0, 0].set_ylim(
            0,
            max(
                most,
                float(np.nanmax(rows.groupby(["objective", "delta", "measure", "epsilon"])["broken"].mean())) * 1.1,
            ),
        )
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        trials = rows.groupby(["objective", "delta", "measure", "epsilon"]).size().max()
        said = (f"n = {rows['n_calibration'].max()}", f"{trials} trials")
        for ax in axes[-1]:
            ax.set_xlabel("ε")
        for ax in axes[:, 0]:
            ax.set_ylabel("splits above δ")
        fig.suptitle(style.caption(frame, *said, width=fig.get_figwidth()), fontsize=8)
        style.legend(fig, axes.flat[0], columns=4)
    return fig


def _of(part: Records) -> Drawn:
    deltas = part.certificates.groupby("objective")["delta"].unique()
    again = [
        trials(part, objective, deltas=sorted(deltas[objective]), epsilons=EPSILONS)
        for objective in OBJECTIVES
        if objective in deltas
    ]
    if not again:
        raise InputError("no certificates in the runs")
    frame = pd.concat(again, ignore_index=True)
    return Drawn(broken_promises(frame), frame)


OUTPUTS = (Output("broken-promises", "Broken promises against ε", "", _of, lone=True),)
