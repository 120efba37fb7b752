"""The published numbers: complete, and typed as printed."""

import pandas as pd
import pytest

from analysis import paper


@pytest.mark.parametrize(
    ("name", "rows", "numbers"), [("table1", 3, 9), ("table2", 12, 108), ("table_d1", 2, 18), ("state_copying", 4, 6)]
)
def test_tables_are_complete(name: str, rows: int, numbers: int) -> None:
    table = paper.published(name)
    keys = {"table2": ["delta"]}.get(name, [])
    assert len(table) == rows
    assert table.drop(columns=keys).select_dtypes("number").notna().to_numpy().sum() == numbers
    assert "2207.07061" in paper.source(name)


@pytest.mark.parametrize(
    ("objective", "delta", "measure", "task", "expected"),
    [
        ("textual", 0.10, "softmax", "cnndm", (5.73, 0.44, 1.41)),
        ("textual", 0.25, "state", "wmt15_enfr", (2.84, 1.93, 1.55)),
        ("risk", 0.02, "classifier", "squad", (3.36, 1.55, 1.11)),
        ("risk", 0.05, "softmax", "cnndm", (1.73, 0.50, 3.53)),
        ("risk", 0.05, "classifier", "squad", (2.59, 2.37, 1.10)),
    ],
)
def test_table2_values(objective: str, delta: float, measure: str, task: str, expected: tuple[float, ...]) -> None:
    table = paper.table2().set_index(["objective", "delta", "measure", "task"])
    assert tuple(table.loc[(objective, delta, measure, task)]) == expected


def test_table2_holds_what_must_be_true_of_it() -> None:
    table = paper.table2()
    assert len(table) == 36
    assert table["layers"].between(1, 8).all()
    # A looser promise never needs more layers, in any row of the paper.
    wide = table.pivot(index=["objective", "measure", "task"], columns="delta", values="layers")
    assert (wide.loc["textual", 0.25] <= wide.loc["textual", 0.1]).all()
    assert (wide.loc["risk", 0.05] <= wide.loc["risk", 0.02]).all()


def test_other_values() -> None:
    assert paper.published("table1").set_index("task").loc["cnndm"].tolist() == [82, 42, 141]
    assert paper.published("table_d1")["cnndm_layer4"].tolist() == [0.35, 0.49]
    copying = paper.published("state_copying")
    assert copying["rouge_l"].tolist() == [38.32, 38.24, 38.31, 23.02]
    assert copying["mean_layers"].isna().sum() == 2


def test_a_reader_cannot_change_the_published_numbers() -> None:
    mine = paper.published("table1")
    mine.loc[0, "target_tokens_mean"] = 0
    assert paper.published("table1").loc[0, "target_tokens_mean"] == 82
    assert isinstance(paper.table2(), pd.DataFrame)
