"""What one wrong token does to the rest of a text, by where it stands (Fig. 2a of the paper)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis import scopes, style
from analysis.load import Records
from analysis.output import Drawn, Output, asked_by
from calm_bench.errors import InputError

KINDS = {
    "sampled": ("last layer's tenth-ranked token", *style.SPARE[0]),
    "layer": ("first layer's token", *style.SPARE[1]),
}


def perturbation(frame: pd.DataFrame, *, similarity: str = "similarity", least: int = 10) -> Figure:
    """Above: score with a wrong token, and without one. Below: similarity to the full model's text.

    frame: rows of perturbation.parquet of one run. similarity: the metric of both, for the axes. Bands are 95%
    intervals. A step that fewer than `least` texts reach is left out. The full model's level is that of the texts that
    reach the step, so it moves too.

    Raises:
        InputError: no step that `least` texts reach.
    """
    rows = frame[frame["n"] >= least]
    if not len(rows):
        raise InputError(f"no step of perturbation.parquet is reached by {least} texts")
    percent = [name for name in map(str, rows) if name.startswith(("score", "similarity"))]
    rows = rows.assign(**{name: 100 * rows[name] for name in percent})
    with style.context():
        fig, axes = style.figure(2, 1, height=4.2, sharex=True)
        above, below = axes[:, 0]
        full = rows.drop_duplicates("step").sort_values("step")
        position = full["step"] + 1
        above.fill_between(position, full["score_full_low"], full["score_full_high"], color=style.INK, alpha=0.08, lw=0)
        above.plot(position, full["score_full"], ":", color=style.INK, label="no wrong token")
        for kind, (words, colour, marker) in KINDS.items():
            steps = rows[rows["kind"] == kind].sort_values("step")
            if not len(steps):
                continue
            label = f"{words}: differs in {_range(steps['changed'])}"
            for ax, value in ((above, "score"), (below, "similarity")):
                ax.fill_between(
                    steps["step"] + 1, steps[f"{value}_low"], steps[f"{value}_high"], color=colour, alpha=0.15, lw=0
                )
                ax.plot(steps["step"] + 1, steps[value], color=colour, marker=marker, label=label)
        below.set_xscale("log")
        below.xaxis.set_major_locator(FixedLocator(list(position)))
        below.xaxis.set_minor_locator(NullLocator())
        below.xaxis.set_minor_formatter(NullFormatter())
        below.set_xticklabels([f"{step + 1}\n{n}" for step, n in zip(full["step"], full["n"], strict=True)])
        below.set_xlabel("position of the wrong token (log), and n texts")
        above.set_ylabel(f"score ({similarity}, 0 to 100)")
        below.set_ylabel(f"{similarity} to the full text (0 to 100)")
        above.set_title(style.caption(frame, "bands: 95% intervals"))
        style.legend(fig, above, columns=1)
    return fig


def _range(shares: "pd.Series[float]") -> str:
    low, high = (f"{100 * share:.0f}" for share in (shares.min(), shares.max()))
    return f"{low}%" if low == high else f"{low} to {high}%"


def _of(part: Records) -> Drawn:
    probed = part.probe("perturbation")
    return Drawn(perturbation(probed, similarity=part.similarity), probed)


OUTPUTS = (
    Output(
        "perturbation", "One wrong token", "Fig. 2a", _of, scopes.probed("perturbation"), asked_by("perturbation"),
        lone=True,
    ),
)  # fmt: skip
