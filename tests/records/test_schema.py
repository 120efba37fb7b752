"""What fits a table and what does not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calm_bench.errors import InputError
from calm_bench.records.schema import SCHEMAS, to_frame, to_table

Frames = dict[str, pd.DataFrame]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_table_comes_back_as_it_was(frames: Frames, name: str) -> None:
    shuffled = frames[name][sorted(frames[name].columns)]
    back = to_frame(SCHEMAS[name], to_table(name, shuffled), Path("x.parquet"))
    assert list(back.columns) == SCHEMAS[name].names
    pd.testing.assert_frame_equal(back[list(shuffled.columns)], shuffled, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_empty_table_keeps_its_columns(frames: Frames, name: str) -> None:
    assert to_frame(SCHEMAS[name], to_table(name, frames[name].iloc[:0]), Path("x.parquet")).empty


def test_a_trial_that_was_not_held_out_stays_null_beside_whole_numbers(frames: Frames) -> None:
    as_floats = frames["certificates"].assign(trial=[np.nan, np.nan, 0.0])
    trial = to_frame(SCHEMAS["certificates"], to_table("certificates", as_floats), Path("x.parquet"))["trial"]
    assert trial.isna().tolist() == [True, True, False]
    assert trial.dtype == pd.Int32Dtype()


def test_the_index_of_a_frame_is_no_column(frames: Frames) -> None:
    filtered = frames["frontier"][frames["frontier"]["rule"] == 0]
    assert to_table("frontier", filtered).column_names == SCHEMAS["frontier"].names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="score"), "generations: column 'score' is missing"),
        (lambda f: f.assign(lamda=0.5), "generations: unknown column 'lamda'"),
        (lambda f: f.assign(score="high"), "generations: column 'score' must be double"),
        (lambda f: f.assign(n_tokens=2.5), "generations: column 'n_tokens' must be int32"),
        (lambda f: f.assign(n_tokens=2**40), "generations: column 'n_tokens' must be int32"),
        (lambda f: f.assign(prediction=7), "generations: column 'prediction' must be string"),
        (lambda f: f.assign(score=np.nan), "generations: column 'score' has 8 empty or NaN values"),
        (lambda f: f.assign(rule=None), "generations: column 'rule' has 8 empty or NaN values"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(frames: Frames, change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(InputError) as error:
        to_table("generations", change(frames["generations"]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
