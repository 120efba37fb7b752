"""A number that stands in two places is one number: the record's certificates, figures, tables, report and summary."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import analysis
from analysis import Records, load, rules
from analysis.catalogue import CATALOGUE
from analysis.load import of_rules
from analysis.report.promises import tolerances
from calm_bench import summary
from calm_bench.calibration import METHODS, Settings, promises
from calm_bench.records import losses
from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run
from tests.analysis.conftest import CALIBRATION, LAYERS, write

KEYS = ["objective", "delta", "measure"]
SETTINGS = {**CALIBRATION, "epsilon": 0.2, "trials": 30, "fraction": 0.6, "seed": 7}  # none of them a default


def certified(frames: dict[str, Any]) -> dict[str, Any]:
    """The frames with the frontier and the certificates that follow from their losses."""
    parts = [pa.Table.from_pandas(frames["generations"], preserve_index=False)]
    described, n = frames["rules"], len(frames["examples"])
    outcomes = losses.outcomes_of(described, losses.by_rule(parts, losses.COLUMNS, len(described), n))
    settings = Settings(*(SETTINGS[name] for name in ("epsilon",)), METHODS["ltt"], 30, 0.6, 7)
    asked = {"textual": SETTINGS["textual"], "risk": SETTINGS["risk"]}
    rows = [row for promise in promises(outcomes, asked, settings) for row in promise.rows()]  # type: ignore[arg-type]
    frontier = frames["frontier"].assign(
        mean_exit_layer=[outcomes.mean_exit_layer(rule) for rule in described["rule"]],
        flops_reduction=[outcomes.flops_reduction(rule) for rule in described["rule"]],
    )
    return {**frames, "frontier": frontier, "certificates": pd.DataFrame(rows).assign(test_score=50.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("shared"), n=200, change=certified, config={"calibration": SETTINGS})


@pytest.fixture(scope="module")
def records(folder: Path) -> Records:
    return load(folder, quiet=True)


@pytest.fixture(scope="module")
def trials(records: Records) -> pd.DataFrame:
    """The record's own, of which some broke and some certified nothing."""
    rows = records.certificates[records.certificates["trial"].notna()]
    assert 0 < (rows["test_loss"] > rows["delta"]).mean() < 1
    assert rows["threshold"].isna().any()
    return rows


@pytest.fixture(scope="module")
def table(records: Records) -> pd.DataFrame:
    return analysis.certified(records.certificates).set_index(KEYS)


def by_promise(rows: pd.DataFrame) -> Any:
    return rows.groupby(KEYS)


def test_trials_made_again_are_the_records_own(records: Records, trials: pd.DataFrame) -> None:
    own = [analysis.trials(records, objective, deltas=SETTINGS[objective]) for objective in ("textual", "risk")]  # type: ignore[arg-type]
    again = pd.concat(own, ignore_index=True)
    columns = [*KEYS, "epsilon", "method", "trial", "n_calibration", "rule", "p_value", "test_loss"]
    columns += ["mean_exit_layer", "flops_reduction"]
    pd.testing.assert_frame_equal(again[columns], trials[columns].reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("objective", ["textual", "risk"])
def test_the_consistency_figure_passes_through_the_tables_points(
    records: Records, table: pd.DataFrame, trials: pd.DataFrame, objective: str
) -> None:
    (output,) = [output for output in CATALOGUE if output.stem == f"consistency-{objective}"]
    top, bottom = output.make(records).figure.axes  # type: ignore[union-attr]
    layers = by_promise(trials)["mean_exit_layer"].mean()
    for measure in ("softmax", "state", "classifier"):
        (loss,), (layer,) = ([line for line in ax.lines if line.get_label() == measure] for ax in (top, bottom))
        for delta in SETTINGS[objective]:
            place = list(loss.get_xdata()).index(delta)
            assert loss.get_ydata()[place] == pytest.approx(table.loc[(objective, delta, measure), "test_loss"])
            assert layer.get_ydata()[place] == pytest.approx(layers[objective, delta, measure])


def test_every_count_of_broken_trials_is_the_same(
    records: Records, table: pd.DataFrame, trials: pd.DataFrame, folder: Path
) -> None:
    counts = by_promise(trials.assign(broken=trials["test_loss"] > trials["delta"]))["broken"].sum()
    assert table["broken"].astype(int).to_dict() == counts.to_dict()
    assert set(table["trials"]) == {30}
    run = Run.open(folder)
    lines = summary.table(run, summary.issued(run))
    printed = [int(count) for line in lines for count in re.findall(r"0\.\d{3} \((\d+)\)", line)]
    assert printed
    assert Counter(printed) <= Counter(table.loc[table["threshold"].notna(), "broken"].astype(int))  # those that matter
    said = [promise.outcome for one in tolerances(table.reset_index(), LAYERS, "chrF") for promise in one.promises]
    for outcome, broken in zip(said, table["broken"], strict=True):
        assert f"{broken} of 30 overlapping splits above δ" in outcome
    (output,) = [output for output in CATALOGUE if output.stem == "broken-promises"]
    panels = {ax.get_title(loc="left"): ax for ax in output.make(records).figure.axes if ax.get_visible()}  # type: ignore[union-attr]
    for (objective, delta, measure), broken in counts.items():
        (line,) = [line for line in panels[f"{objective}, δ = {delta:g}"].lines if line.get_label() == measure]
        place = list(line.get_xdata()).index(SETTINGS["epsilon"])
        assert line.get_ydata()[place] == pytest.approx(broken / 30)


def test_layers_and_flops_of_a_certified_rule_are_those_of_the_frontier(
    records: Records, table: pd.DataFrame, folder: Path
) -> None:
    whole = records.certificates[records.certificates["trial"].isna()]
    points = records.frontier.set_index("rule").loc[whole["rule"]]
    for column in ("mean_exit_layer", "flops_reduction"):
        np.testing.assert_allclose(whole[column], points[column])
    np.testing.assert_allclose(table["layers"], points["mean_exit_layer"])
    np.testing.assert_allclose(table["score"], points["score"])
    known = scalars(Run.open(folder))
    for (objective, delta, measure), row in table.iterrows():
        percent = f"{100 * delta:g}".replace(".", "_")
        promise = f"certified/{measure}/{objective}_{percent}pct"
        assert known[f"{promise}/layers"] == pytest.approx(row["layers"])
        assert known[f"{promise}/score"] == pytest.approx(row["score"])


def test_exits_are_those_of_the_texts(records: Records) -> None:
    picked = rules.representative(records)
    exits = of_rules(records.exits, picked)
    sums = exits.assign(sum=exits["layer"] * exits["count"]).groupby("rule")[["sum", "count"]].sum()
    points = records.frontier.set_index("rule")["mean_exit_layer"]
    np.testing.assert_allclose(sums["sum"] / sums["count"], points[sums.index])
    texts = records.generations(picked).groupby("rule")["n_tokens"].sum()
    assert sums["count"].to_dict() == texts.to_dict()
