"""Does a higher confidence mean that the layer is more often right?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis import style
from analysis.output import Drawn, Output
from calm_bench.errors import InputError

PROBABILITIES = ("classifier",)  # trained to be the probability of agreement; a gap or a cosine is none


def reliability(frame: pd.DataFrame) -> Figure:
    """Share of tokens at which a layer agrees with the full model against mean confidence: a panel for each measure.

    frame: rows of reliability.parquet of one group. One curve for each layer; bands are 95% intervals over texts. The
    diagonal is drawn where the confidence claims to be that share, so only for the classifier: below it the classifier
    is too sure of itself.

    Raises:
        InputError: no row.
    """
    if not len(frame):
        raise InputError("no run was asked for it (probes=[reliability])")
    measures = style.ordered(frame["measure"])
    layers = sorted(frame["layer"].unique())
    colours = dict(zip(layers, reversed(style.graded(len(layers))), strict=True))
    with style.context():
        width = style.COLUMN if len(measures) == 1 else style.PAGE
        fig, axes = style.figure(1, len(measures), width=width, height=2.9, sharey=True)
        for ax, measure in zip(axes[0], measures, strict=True):
            panel = frame[frame["measure"] == measure]
            for layer, bins in panel.groupby("layer"):
                bins = bins.sort_values("bin")
                ax.fill_between(
                    bins["confidence"],
                    bins["agreement_low"],
                    bins["agreement_high"],
                    color=colours[layer],
                    alpha=0.12,
                    lw=0,
                )
                ax.plot(
                    bins["confidence"],
                    bins["agreement"],
                    color=colours[layer],
                    marker=style.look(measure)[1],
                    markersize=2.5,
                    linewidth=0.9,
                )
            if measure in PROBABILITIES:
                ends = [float(panel[["confidence", "agreement"]].min().min()), 1.0]
                ax.plot(ends, ends, "--", color=style.INK, linewidth=0.8)
            ax.set_title(measure)
            ax.set_xlabel("mean confidence")
            ax.xaxis.set_major_locator(MaxNLocator(5))
        axes[0, 0].set_ylabel("tokens that agree with the full model")
        axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        handles = [Line2D([], [], color=colours[layer], label=f"layer {layer}") for layer in layers]
        if np.isin(measures, PROBABILITIES).any():
            handles.append(Line2D([], [], color=style.INK, linestyle="--", label="as sure as right"))
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
        tokens = int(frame.groupby(["measure", "layer"])["n_tokens"].sum().max())
        said = (f"n = {tokens} tokens of the full model's texts", "bands: 95% intervals")
        fig.suptitle(style.caption(frame, *said, width=width), fontsize=8)
    return fig


OUTPUTS = (
    Output(
        "reliability",
        "Confidence against agreement",
        "",
        lambda part: Drawn(reliability(part.probe("reliability")), part.probe("reliability")),
        lone=True,
    ),
)
