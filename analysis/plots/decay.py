"""The decayed threshold (Fig. 2b of the paper): a formula, so it needs no run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis import style


def threshold_decay(threshold: float = 0.9, taus: Sequence[float] = (0, 1, 4, 10)) -> Figure:
    """λ'(λ, t) = clip(0.9 λ + 0.1 exp(-τ t / N), 0, 1) against t / N for several τ (Eq. 5).

    threshold: λ in [0, 1]. taus: temperatures τ >= 0. N is the maximum output length in tokens.
    """
    with style.context():
        fig, axes = style.figure(height=2.3)
        ax = axes[0, 0]
        step = np.linspace(0, 1, 101)
        colours, dashes = style.graded(len(taus)), ["-", "--", "-.", ":"]
        for place, tau in enumerate(taus):
            decayed = np.clip(0.9 * threshold + 0.1 * np.exp(-tau * step), 0, 1)
            ax.plot(step, decayed, dashes[place % len(dashes)], color=colours[place], label=f"τ = {tau:g}")
        ax.set_xlabel("step t / maximum output length N")
        ax.set_ylabel("threshold at this step")
        ax.set_title(f"decayed threshold, λ = {threshold:g}")
        style.legend(fig, ax, columns=4)
    return fig
