"""One certified rule at a glance: what it costs and keeps, what is promised of it, and a text by exit layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import rules, style
from analysis.load import Records, of_rules
from analysis.output import Drawn, Output
from analysis.plots.coloured import FONT, LINE, MARGIN, boxed, lines_of, printable, say, scale, wrapped
from analysis.tables.certified import certified, held_out_words
from calm_bench import bootstrap
from calm_bench.calibration.promise import STATIC
from calm_bench.errors import InputError

LOSS = {
    "textual": "texts differ from the full model's by at most {delta:g} of {similarity} on average",
    "risk": "at most {delta:g} of {similarity} is lost to the full model on average",
}


def card(
    tiles: Sequence[tuple[str, str, str]], said: Sequence[str], texts: Mapping[str, pd.DataFrame], layers: int
) -> Figure:
    """A row of numbers, what is said of them, and one source's texts with each token on the colour of its exit layer.

    tiles: name, value and what stands below it, of four numbers or so. said: lines above the texts, the first in bold.
    texts: by what each line is called, tokens of one text (columns piece and exit_layer). layers: L of the model.
    """
    heads = [part for line in said for part in wrapped(line)]
    blocks = [(name, rows, lines_of(rows["piece"])) for name, rows in texts.items()]
    height = 2 * MARGIN + LINE * (5.6 + len(heads) + sum(len(lines) + 1.3 for _, _, lines in blocks) + 1.6)
    with style.context():
        fig = Figure(figsize=(style.PAGE, height / 72))
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, 72 * style.PAGE), ylim=(height, 0))
        ax.set_axis_off()
        _tiles(ax, tiles)
        y = MARGIN + 5.6 * LINE
        for place, head in enumerate(heads):
            say(ax, y, head, bold=place == 0)
            y += LINE
        colours = style.layer_colours(layers)
        for name, rows, lines in blocks:
            y += 0.3 * LINE
            say(ax, y, name)
            exits = rows["exit_layer"].tolist()
            for line in lines:
                y += LINE
                for token, column, text in line:
                    boxed(ax, y, column, text, colours[exits[token] - 1])
            y += LINE
        scale(ax, y + 0.8 * LINE, colours)
    return fig


def _tiles(ax: Axes, tiles: Sequence[tuple[str, str, str]]) -> None:
    width = (72 * style.PAGE - 2 * MARGIN) / len(tiles)
    for place, (name, value, below) in enumerate(tiles):
        x = MARGIN + place * width
        for y, text, size in ((0.7, name, FONT), (2.2, value, 2.4 * FONT), (3.8, below, FONT)):
            weight = "bold" if text is value else "normal"
            ax.text(x, MARGIN + y * LINE, text, fontsize=size, weight=weight, va="center", parse_math=False)


def _of(part: Records) -> Drawn:
    promise = _chosen(part)
    rule = part.rules[(part.rules["run_id"] == promise["run_id"]) & (part.rules["rule"] == promise["rule"])]
    row, full = (
        of_rules(part.frontier, one).iloc[0] for one in (rule, part.frontier[part.frontier["measure"] == "full"])
    )
    example, texts = _texts(part, rule)
    data = pd.DataFrame([row])
    return Drawn(card(_numbers(part, row, full), _said(part, promise, example), texts, part.layers), data)


def _chosen(part: Records) -> dict[Any, Any]:
    """The quickest rule that is certified and whose score's 95% interval reaches the full model's score.

    Where none was timed, that of the fewest FLOPs. A row of `tables.certified`, with the rule's number.
    """
    keys = ["run_id", "measure", "threshold"]
    promises = certified(rules.own(part.certificates)).merge(
        part.frontier[[*keys, "rule", "score_high", "flops_reduction"]], on=keys
    )
    full = part.frontier.loc[part.frontier["measure"] == "full", "score"]
    good = promises[(promises["measure"] != STATIC) & (promises["score_high"] >= float(full.max()))]
    if not len(good):
        raise InputError("no certified rule of a measure whose score may be the full model's")
    return good.sort_values(["speedup", "flops_reduction"], ascending=False, kind="stable").iloc[0].to_dict()


def _numbers(part: Records, row: pd.Series, full: pd.Series) -> list[tuple[str, str, str]]:
    def between(column: str, digits: int) -> str:
        low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
        return f"{low:.{digits}f} to {high:.{digits}f}" if pd.notna(low) and low != high else ""

    outcomes = part.stored[str(row["run_id"])].outcomes
    flops = [
        float(values[int(row["rule"])])
        for values in bootstrap.reduction(outcomes.flops, outcomes.tokens, outcomes.full, seed=0)
    ]
    tiles = [
        (f"layers per token, of {part.layers}", f"{row['mean_exit_layer']:.2f}", between("mean_exit_layer", 2)),
        (
            f"decoder FLOPs, full over early{' (more)' * (flops[0] < 1)}",
            f"÷ {flops[0]:.2f}",
            f"{flops[1]:.2f} to {flops[2]:.2f}",
        ),
        (f"{part.quality}, full model {full['score']:.1f}", f"{row['score']:.1f}", between("score", 1)),
    ]
    if pd.notna(row["speedup"]):
        seconds = f"{1000 * row['seconds']:.2f} ms, full {1000 * full['seconds']:.2f}"
        tiles.insert(2, ("speed, one text at a time", f"{row['speedup']:.2f} ×", seconds))
    return tiles


def _said(part: Records, promise: Mapping[Any, Any], example: Mapping[Any, Any]) -> list[str]:
    sure = f"with probability {1 - promise['epsilon']:g} over the draw of n = {promise['n']}"
    promised = LOSS[promise["objective"]].format(delta=promise["delta"], similarity=part.similarity)
    group = str(part.runs["group"].iloc[0])
    said = [f"{group}: {promise['measure']}, λ = {promise['threshold']:g}"]
    said.append(f"Promised ({promise['method']}, {promise['objective']} consistency): {sure}, {promised}.")
    if promise["trials"]:
        splits = f"{int(promise['broken'])} of {promise['trials']} splits above δ"
        said.append(f"Mean loss on held-out texts: {held_out_words(promise)}; {splits}. Intervals: 95%.")
    return [*said, f"The longest text, {printable(str(example['example_id']))}: {printable(str(example['source']))}"]


def _texts(part: Records, rule: pd.DataFrame) -> tuple[dict[Any, Any], dict[str, pd.DataFrame]]:
    """The example whose text by the full model is the longest, and its tokens under the full model and under `rule`."""
    full = part.rules[part.rules["kind"] == "full"].iloc[:1]
    lengths = part.generations(full).sort_values(["n_tokens", "example_id"], ascending=[False, True], kind="stable")
    if not len(lengths):
        raise InputError("no texts in generations.parquet")
    number = int(lengths["example"].iloc[0])
    texts = {}
    for name, one in (("the full model", full), ("the rule", rule)):
        tokens = part.tokens(one, [number]).sort_values("position")
        if not len(tokens) or tokens["piece"].isna().any():
            raise InputError("no tokens with their text in tokens.parquet")
        texts[f"{name}, {tokens['exit_layer'].mean():.1f} layers a token"] = tokens
    return part.examples[part.examples["example"] == number].iloc[0].to_dict(), texts


OUTPUTS = (Output("card", "One certified rule at a glance", "", _of, lone=True),)
