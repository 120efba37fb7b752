"""Where tokens leave: how many at each layer, and how the layer moves along the text."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis import style
from calm_bench.errors import InputError


def exit_histogram(tokens: pd.DataFrame, layers: int) -> Figure:
    """Share of tokens that leave at each layer 1..L, one group of bars per measure.

    tokens: rows of tokens.parquet, one rule per measure (several are pooled). layers: L of the model.

    Raises:
        InputError: no tokens.
    """
    _filled(tokens)
    with style.context():
        fig, axes = style.figure(height=2.5)
        ax = axes[0, 0]
        measures = style.ordered(tokens["measure"])
        width = 0.8 / len(measures)
        for place, measure in enumerate(measures):
            rows = tokens[tokens["measure"] == measure]
            share = rows["exit_layer"].value_counts(normalize=True).reindex(range(1, layers + 1), fill_value=0.0)
            left = np.arange(1, layers + 1) - 0.4 + width * (place + 0.5)
            ax.bar(left, share.to_numpy(), width, color=style.look(measure)[0], label=_rule(measure, rows), linewidth=0)
        ax.set_xlabel(f"exit layer ({layers} = nothing skipped)")
        ax.set_ylabel("share of tokens")
        ax.set_xticks(range(1, layers + 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.grid(axis="x", visible=False)
        ax.set_title(style.caption(tokens, f"n = {tokens['example_id'].nunique()} texts"))
        style.legend(fig, ax)
    return fig


def exit_by_position(tokens: pd.DataFrame, layers: int, *, least: int = 20) -> Figure:
    """Mean exit layer of the token at each position, one curve per measure.

    tokens: rows of tokens.parquet, one rule per measure. Bands are 95% normal intervals of the mean. Positions that
    fewer than `least` texts reach are left out, because their mean says more about those texts than about the
    position.

    Raises:
        InputError: no tokens, or no position that `least` texts reach.
    """
    _filled(tokens)
    with style.context():
        fig, axes = style.figure(height=2.5)
        ax = axes[0, 0]
        for measure in style.ordered(tokens["measure"]):
            rows = tokens[tokens["measure"] == measure]
            stats = rows.groupby("position")["exit_layer"].agg(["mean", "std", "size"])
            stats = stats[stats["size"] >= least]
            half = 1.96 * stats["std"].fillna(0.0) / np.sqrt(stats["size"])
            colour, marker = style.look(measure)
            steps = stats.index + 1
            ax.fill_between(steps, stats["mean"] - half, stats["mean"] + half, color=colour, alpha=0.12, linewidth=0)
            ax.plot(steps, stats["mean"], color=colour, marker=marker, markevery=0.1, label=_rule(measure, rows))
        if not any(len(line.get_xdata()) for line in ax.get_lines()):
            raise InputError(f"no position is reached by {least} texts: too few examples for exit layers by position")
        ax.set_ylim(1, layers)
        ax.set_xlabel("position of the token in the text")
        ax.set_ylabel("mean exit layer")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_title(
            style.caption(tokens, f"n = {tokens['example_id'].nunique()}", f"positions in {least} texts or more")
        )
        style.legend(fig, ax)
    return fig


def _filled(tokens: pd.DataFrame) -> None:
    if not len(tokens):
        raise InputError("no tokens of a rule to draw in tokens.parquet")


def _rule(measure: str, rows: pd.DataFrame) -> str:
    thresholds = rows["threshold"].dropna().unique()
    return f"{measure}, λ={thresholds[0]:g}" if len(thresholds) == 1 else measure
