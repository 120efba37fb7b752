"""Where tokens leave: how many at each layer, and how the layer moves along the text."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis import rules, style
from analysis.load import Records, of_rules
from analysis.output import Drawn, Output
from calm_bench.errors import InputError
from calm_bench.records.exits import by_layer, by_position


def exit_histogram(exits: pd.DataFrame, layers: int) -> Figure:
    """Share of tokens that leave at each layer 1..L, one group of bars per measure.

    exits: rows of exits.parquet, one rule per measure (several are pooled). layers: L of the model.

    Raises:
        InputError: no tokens.
    """
    _filled(exits)
    with style.context():
        fig, axes = style.figure(height=2.5)
        ax = axes[0, 0]
        measures = style.ordered(exits["measure"])
        width = 0.8 / len(measures)
        shares = by_layer(exits, ["measure"]).set_index(["measure", "layer"])["share"]
        for number, measure in enumerate(measures):
            share = shares[measure].reindex(range(1, layers + 1), fill_value=0.0)
            left = np.arange(1, layers + 1) - 0.4 + width * (number + 0.5)
            label = _rule(measure, exits)
            ax.bar(left, share.to_numpy(), width, color=style.look(measure)[0], label=label, linewidth=0)
        ax.set_xlabel(f"exit layer ({layers} = nothing skipped)")
        ax.set_ylabel("share of tokens")
        ax.set_xticks(range(1, layers + 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.grid(axis="x", visible=False)
        ax.set_title(style.caption(exits, style.counted(_texts(exits))))
        style.legend(fig, ax)
    return fig


def exit_by_position(exits: pd.DataFrame, layers: int, *, least: int = 20) -> Figure:
    """Mean exit layer of the token at each position, one curve per measure.

    exits: rows of exits.parquet, one rule per measure. Bands are 95% normal intervals of the mean. Positions that
    fewer than `least` texts reach are left out, because their mean says more about those texts than about the
    position. Seeds write texts of the same sources, which count once.

    Raises:
        InputError: no tokens, or no position that `least` texts reach.
    """
    _filled(exits)
    with style.context():
        fig, axes = style.figure(height=2.5)
        ax = axes[0, 0]
        means = by_position(exits, ["measure"])
        seeds = means["measure"].map(exits.groupby("measure")["run_id"].nunique())
        means = means.assign(n_texts=means["n_tokens"] / seeds)
        means = means[means["n_texts"] >= least]
        for measure in style.ordered(exits["measure"]):
            rows = means[means["measure"] == measure]
            mean, half = rows["mean_exit_layer"], 1.96 * rows["exit_layer_sd"].fillna(0.0) / np.sqrt(rows["n_texts"])
            colour, marker = style.look(measure)
            steps = rows["position"] + 1
            ax.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.12, linewidth=0)
            ax.plot(steps, mean, color=colour, marker=marker, markevery=0.1, label=_rule(measure, exits))
        if not len(means):
            raise InputError(f"no position is reached by {least} texts: too few examples for exit layers by position")
        ax.set_ylim(1, layers)
        ax.set_xlabel("position of the token in the text")
        ax.set_ylabel("mean exit layer")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_title(style.caption(exits, style.counted(_texts(exits)), f"positions in {least} texts or more"))
        style.legend(fig, ax)
    return fig


def _filled(exits: pd.DataFrame) -> None:
    if not len(exits):
        raise InputError("no tokens of a rule to draw in exits.parquet")


def _texts(exits: pd.DataFrame) -> int:
    """How many texts a rule has: every one has a first token."""
    return int(exits[exits["position"] == 0].groupby(["run_id", "rule"])["count"].sum().max())


def _rule(measure: str, exits: pd.DataFrame) -> str:
    thresholds = exits.loc[exits["measure"] == measure, "threshold"].dropna().unique()
    sign = "layer " if measure == "static" else "λ = "
    return f"{measure}, {sign}{thresholds[0]:g}" if len(thresholds) == 1 else measure


def _of(
    draw: Callable[[pd.DataFrame, int], Figure], shown: Callable[[pd.DataFrame, list[str]], pd.DataFrame]
) -> Callable[[Records], Drawn]:
    """Of one representative rule a measure."""

    def drawn(part: Records) -> Drawn:
        exits = of_rules(part.exits, rules.representative(part))
        return Drawn(draw(exits, part.layers), shown(exits, ["measure", "threshold"]))

    return drawn


OUTPUTS = (
    Output("exit-histogram", "Tokens by exit layer", "", _of(exit_histogram, by_layer)),
    Output("exit-by-position", "Exit layer along the text", "", _of(exit_by_position, by_position)),
)
