"""The coloured text: which example is chosen, and that a text stays a text, whatever is in it."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example as example_of
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import Records, coloured_text, example, load, style
from analysis.outputs import save
from analysis.plots.coloured import WIDTH, lines_of
from calm_bench.errors import InputError


@pytest.fixture(scope="module")
def chosen(records: Records) -> pd.DataFrame:
    return example(records.of(records.groups[0]))


def drawn(fig: Figure) -> tuple[list[str], list[str]]:
    """The texts and the colours of the boxes, in the order drawn."""
    (ax,) = fig.axes
    boxes = [to_hex(patch.get_facecolor()) for patch in ax.patches if isinstance(patch, Rectangle)]
    return [text.get_text() for text in ax.texts], boxes


def pieces(*texts: str) -> pd.DataFrame:
    tokens = {"piece": list(texts), "exit_layer": 2, "position": range(len(texts))}
    about = {"group": "g", "example_id": "e", "measure": "softmax", "threshold": 0.5, "source": "s", "reference": "r"}
    return pd.DataFrame({**tokens, **about, "distance": 0.25, "risk": -0.1, "mean_exit_layer": 2.0, "speedup": 1.5})


def test_the_longest_text_that_the_rules_write_differently_is_chosen(records: Records, chosen: pd.DataFrame) -> None:
    (measure,) = chosen["measure"].unique()
    thresholds = chosen["threshold"].unique().tolist()
    assert 2 <= len(thresholds) <= 3
    assert thresholds == sorted(thresholds, reverse=True)
    rules = records.rules
    rows = records.generations(rules[(rules["measure"] == measure) & rules["threshold"].isin(thresholds)])
    losses = rows.groupby("example_id")["textual_loss"].nunique()
    lengths = records.generations(rules[rules["kind"] == "full"]).set_index("example_id")["n_tokens"]
    assert lengths[chosen["example_id"].iloc[0]] == lengths[losses[losses > 1].index].max()
    first = chosen[chosen["threshold"] == thresholds[0]].iloc[0]
    row = rows.set_index(["example_id", "threshold"]).loc[(first["example_id"], thresholds[0])]
    assert (first["distance"], first["mean_exit_layer"]) == (row["textual_loss"], row["mean_exit_layer"])


def test_the_choice_does_not_depend_on_the_order_of_the_rows(write_run, chosen: pd.DataFrame) -> None:
    def mixed(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return frames | {name: frames[name].sample(frac=1, random_state=1) for name in ("generations", "tokens")}

    records = load(write_run(change=mixed))
    pd.testing.assert_frame_equal(example(records.of(records.groups[0])), chosen)


def test_each_token_stands_on_the_colour_of_its_layer(chosen: pd.DataFrame) -> None:
    texts, boxes = drawn(coloured_text(chosen, 8, similarity="chrF"))
    colours = [background for background, _ in style.layer_colours(8)]
    assert boxes == [colours[layer - 1] for layer in chosen["exit_layer"]] + colours
    assert texts[0].startswith("demo-tatoeba_enfr, text e")
    said = next(text for text in texts if f"λ = {chosen['threshold'].iloc[0]:g}" in text)
    assert f"D = {chosen['distance'].iloc[0]:.2f} (1 - chrF)" in said
    assert f"{chosen['mean_exit_layer'].iloc[0]:.1f} layers per token" in said
    assert len(set(colours)) == 8


def test_a_text_is_not_mathematics_and_any_letter_can_be_drawn(tmp_path: Path) -> None:
    odd = ["▁$x^2$", "▁\\frac{", "▁€", "\x00\n", "▁汉字", "▁\U0001f600", "▁</svg>&", "▁"]
    fig = coloured_text(pieces(*odd).assign(source="costs $5 and $6", reference="a_b\n$"), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(fig, tmp_path, "odd")
    texts, _ = drawn(fig)
    assert {"$x^2$", "\\frac{", "□□", "▁"} <= set(texts)
    svg = (tmp_path / "odd.svg").read_text(encoding="utf-8")
    assert "$x^2$" in svg
    assert "&lt;/svg&gt;&amp;" in svg


def test_a_long_text_wraps_and_the_figure_grows() -> None:
    short, long = (coloured_text(pieces(*["▁word"] * count), 8) for count in (3, 300))
    assert long.get_figheight() > short.get_figheight() + 1
    assert long.get_figwidth() == short.get_figwidth() == style.PAGE


@example_of(["汉" * 3 * WIDTH, "▁" + "a" * WIDTH, "b"])
@given(st.lists(st.text("▁ab汉\n", min_size=1, max_size=3 * WIDTH), max_size=30))
def test_no_line_is_too_long_and_no_letter_is_lost(words: list[str]) -> None:
    laid = lines_of(pd.Series(words, dtype=object))
    by_token: dict[int, str] = {}
    for line in laid:
        at = 0
        for token, column, text in line:
            wide = sum(1 + (letter == "汉") for letter in text)
            assert at <= column
            assert column + wide <= WIDTH
            at = column + wide
            by_token[token] = by_token.get(token, "") + text
    expected = [word.replace("\n", "□") for word in words]
    assert [by_token[token] for token in range(len(words))] == [word.lstrip("▁") or word for word in expected]


def test_records_without_tokens_are_one_line(write_run) -> None:
    records = load(write_run(change=lambda frames: {**frames, "tokens": frames["tokens"].iloc[:0]}))
    with pytest.raises(InputError, match=r"tokens\.parquet"):
        example(records.of(records.groups[0]))
    with pytest.raises(InputError, match="no tokens"):
        coloured_text(records.tokens(records.rules), 8)
