"""Tables: averages over trials, the published row under ours, and three formats that say the same."""

from pathlib import Path

import pandas as pd
import pytest

from analysis import Records, certified, efficiency, load
from analysis.tables import efficiency_wide, missing, write_table
from calm_bench.errors import InputError


@pytest.fixture
def squad(write_run) -> Records:
    return load(write_run(name="squad", task="squad"))


def test_efficiency_averages_trials(squad: Records) -> None:
    table = efficiency(squad.certificates, squad.frontier)
    ours = table[table["source"] == "this run"].set_index(["objective", "delta", "measure"])
    rows = squad.certificates.query("objective == 'risk' and delta == 0.05 and measure == 'state' and trial.notna()")
    point = ours.loc[("risk", 0.05, "state")]
    assert point["layers"] == pytest.approx(rows["mean_exit_layer"].mean())
    assert point["layers_low"] <= point["layers"] <= point["layers_high"]
    assert point["trials"] == 50


def test_the_published_row_stands_under_ours(squad: Records) -> None:
    table = efficiency(squad.certificates, squad.frontier)
    assert len(table) == 24
    assert table["source"].tolist() == ["this run", "published"] * 12
    assert table.iloc[1][["layers", "flops_reduction", "speedup"]].tolist() == [1.65, 3.15, 1.63]
    wide = efficiency_wide(table)
    assert wide.iloc[1].tolist() == ["textual", "0.1", "softmax", "published", "1.65", "3.15", "1.63"]


def test_other_tasks_have_no_published_row(records: Records) -> None:
    table = efficiency(records.certificates, records.frontier)
    assert set(table["source"]) == {"this run"}
    assert missing(table) == ["no runs on cnndm, wmt15_enfr, squad"]


def test_what_is_missing_is_said(squad: Records) -> None:
    fewer = squad.certificates.query("not (objective == 'risk' and delta == 0.02)")
    assert "no runs with objective=risk, delta=0.02 on squad (softmax, state, classifier)" in missing(
        efficiency(fewer, squad.frontier)
    )


def test_an_untimed_rule_has_no_speedup_rather_than_zero(write_run) -> None:
    records = load(write_run(timed=False))
    table = efficiency(records.certificates, records.frontier)
    assert table["speedup"].isna().all()
    assert (efficiency_wide(table).filter(like="speedup") == "").all().all()


def test_the_full_model_stands_in_where_nothing_was_certified(records: Records) -> None:
    none = records.certificates.assign(threshold=float("nan"), p_value=float("nan"))
    table = certified(none, records.frontier)
    full = records.frontier.set_index("measure").loc["full"]
    assert table["score"].tolist() == pytest.approx([full["score"]] * len(table))
    assert len(table) == 12


def test_certified_counts_broken_trials(records: Records) -> None:
    table = certified(records.certificates, records.frontier)
    trials = records.certificates.query("trial.notna()")
    assert table["broken"].sum() == (trials["test_loss"] > trials["delta"]).sum()
    assert (table["trials"] == 50).all()
    assert (certified(records.certificates.query("trial.isna()"), records.frontier)["trials"] == 0).all()
    with pytest.raises(InputError, match="no certificates"):
        certified(records.certificates.iloc[:0], records.frontier)


def test_formats(squad: Records, tmp_path: Path) -> None:
    table = efficiency(squad.certificates, squad.frontier)
    wide = efficiency_wide(table)
    assert write_table(tmp_path / "t", table, wide, "A note.") == ("t.csv", "t.md", "t.tex")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    latex = (tmp_path / "t.tex").read_text()
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"$\delta$", "published"))
    assert "published" in (tmp_path / "t.md").read_text()
    write_table(tmp_path / "u", table, wide.rename(columns={"measure": "a_b"}), "")
    assert r"a\_b" in (tmp_path / "u.tex").read_text()
