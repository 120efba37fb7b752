"""Tables: averages over trials, the published row under ours, and three formats that say the same."""

import json
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from analysis import Records, certified, classifier_f1, efficiency, load, state_copying, text_lengths
from analysis.catalogue import CATALOGUE
from analysis.tables import (
    Table,
    classifier_f1_shown,
    efficiency_shown,
    missing,
    state_copying_shown,
    text_lengths_shown,
    write_table,
)
from calm_bench.errors import InputError


@pytest.fixture
def squad(write_run) -> Records:
    return load(write_run(name="squad", task="squad"))


def test_efficiency_averages_trials(squad: Records) -> None:
    table = efficiency(squad.certificates, squad.runs)
    ours = table[table["source"] == "this run"].set_index(["objective", "delta", "measure"])
    rows = squad.certificates.query("objective == 'risk' and delta == 0.05 and measure == 'state' and trial.notna()")
    point = ours.loc[("risk", 0.05, "state")]
    assert point["layers"] == pytest.approx(rows["mean_exit_layer"].mean())
    assert point["layers_low"] <= point["layers"] <= point["layers_high"]
    assert point["flops_reduction_low"] <= point["flops_reduction"] <= point["flops_reduction_high"]
    assert (point["trials"], point["seeds"], point["interval"]) == (50, 1, "the middle 95% of 50 overlapping splits")
    assert " to " in efficiency_shown(table).iloc[0]["FLOPs reduction"]


def test_the_published_row_stands_under_ours(squad: Records) -> None:
    table = efficiency(squad.certificates, squad.runs)
    assert len(table) == 24
    assert table["source"].tolist() == ["this run", "published"] * 12
    assert table.iloc[1][["layers", "flops_reduction", "speedup"]].tolist() == [1.65, 3.15, 1.63]
    shown = efficiency_shown(table)
    assert shown.iloc[1].tolist() == ["squad", "textual", "0.1", "softmax", "published", "1.65", "3.15", "1.63"]


def test_other_tasks_have_no_published_row(records: Records) -> None:
    table = efficiency(records.certificates, records.runs)
    assert set(table["source"]) == {"this run"}
    assert missing(table) == ["no runs on cnndm, wmt15_enfr, squad"]


def test_what_is_missing_is_said(squad: Records) -> None:
    fewer = squad.certificates.query("not (objective == 'risk' and delta == 0.02)")
    assert "no runs with objective=risk, δ=0.02 on squad (softmax, state, classifier)" in missing(
        efficiency(fewer, squad.runs)
    )


def test_an_untimed_rule_has_no_speedup_rather_than_zero(write_run) -> None:
    records = load(write_run(timed=False))
    table = efficiency(records.certificates, records.runs)
    assert table["speedup"].isna().all()
    assert (efficiency_shown(table).filter(like="speedup") == "").all().all()


def test_the_full_model_stands_in_where_nothing_was_certified(write_run) -> None:
    def nothing(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return {**frames, "certificates": frames["certificates"].assign(rule=0, p_value=float("nan"))}

    records = load(write_run(change=nothing))
    table = certified(records.certificates)
    full = records.frontier.set_index("measure").loc["full"]
    assert table["score"].tolist() == pytest.approx([full["score"]] * len(table))
    assert table["threshold"].isna().all()
    assert len(table) == 12


def test_certified_counts_broken_trials(records: Records) -> None:
    table = certified(records.certificates)
    trials = records.certificates.query("trial.notna()")
    assert table["broken"].sum() == (trials["test_loss"] > trials["delta"]).sum()
    assert (table["trials"] == 50).all()
    assert (certified(records.certificates.query("trial.isna()"))["trials"] == 0).all()
    with pytest.raises(InputError, match="no certificates"):
        certified(records.certificates.iloc[:0])


def test_seeds_of_one_setup_are_pooled(write_run) -> None:
    for seed in (0, 1):
        last = write_run(run_id=f"seed{seed}", seed=seed)
    both = load(last.parent, quiet=True)
    table = efficiency(both.certificates, both.runs)
    assert set(table["setup"]) == {"demo-tatoeba_enfr"}
    assert set(table["interval"]) == {"95% t-interval over 2 training seeds, each the mean of its 50 splits"}
    point = table.set_index(["objective", "delta", "measure"]).loc[("textual", 0.25, "state")]
    rows = both.certificates.query("objective == 'textual' and delta == 0.25 and measure == 'state' and trial.notna()")
    assert len(rows) == 100
    assert point["layers"] == pytest.approx(rows["mean_exit_layer"].mean())
    assert point["layers_low"] < rows.groupby("run_id")["mean_exit_layer"].mean().min()  # two seeds say little
    one = [efficiency(part.certificates, part.runs) for part in map(both.of, both.groups)]
    speeds = [rows.set_index(["objective", "delta", "measure"]).loc[("textual", 0.25, "state")] for rows in one]
    if all(pd.notna(row["speedup"]) for row in speeds):
        assert point["speedup_low"] == min(row["speedup_low"] for row in speeds)


def test_the_speedup_is_that_of_the_certified_rule(write_run) -> None:
    def at_one_half(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        rules = frames["rules"][frames["rules"]["threshold"] == 0.5].set_index("measure")["rule"]
        certificates = frames["certificates"]
        return {**frames, "certificates": certificates.assign(rule=certificates["measure"].map(rules))}

    records = load(write_run(change=at_one_half))
    table = efficiency(records.certificates, records.runs)
    timed = records.frontier.query("threshold == 0.5").set_index("measure")
    for _, row in table.iterrows():
        expected = timed.loc[row["measure"], ["speedup", "speedup_low", "speedup_high"]]
        assert row[["speedup", "speedup_low", "speedup_high"]].tolist() == expected.tolist()


def test_without_trials_there_is_no_interval(records: Records) -> None:
    table = efficiency(records.certificates.query("trial.isna()"), records.runs)
    assert (table["trials"] == 0).all()
    assert table["layers_low"].isna().all()
    assert not efficiency_shown(table).filter(like="layers").map(lambda cell: "to" in cell).any(axis=None)


def test_lengths_are_those_of_the_targets(records: Records) -> None:
    table = text_lengths(records.examples)
    texts = records.examples
    ours = table.iloc[0]
    assert (ours["source"], ours["n"]) == ("this run", 24)
    assert ours["target_mean"] == pytest.approx(texts["n_target_tokens"].mean())
    assert ours["target_p95"] == pytest.approx(texts["n_target_tokens"].quantile(0.95))
    assert ours["source_p5"] == pytest.approx(texts["n_source_tokens"].quantile(0.05))
    theirs = table[table["source"] == "published"].set_index("task")["target_mean"].to_dict()
    assert theirs == {"cnndm": 82, "wmt15_enfr": 39, "squad": 5}
    assert text_lengths_shown(table).iloc[1, -2:].tolist() == ["82 (42 to 141)", ""]
    with pytest.raises(InputError, match="no examples"):
        text_lengths(records.examples.iloc[:0])


def test_of_several_runs_on_one_split_the_largest_is_measured(write_run) -> None:
    write_run(run_id="small", n=3, name="a")
    last = write_run(run_id="large", n=9, name="b")
    table = text_lengths(load(last.parent, quiet=True).examples)
    assert table[table["source"] == "this run"][["run_id", "n"]].to_numpy().tolist() == [["large", 9]]


@pytest.fixture
def taught(write_run) -> Records:
    for objective in ("geometric", "independent"):
        config = {"training": {"classifier_objective": objective}}
        last = write_run(run_id=objective, n=4, name="classifier_training", task="squad", config=config)
    return load(last.parent, quiet=True)


def test_classifier_f1_has_every_layer_and_the_published_ones_below(taught: Records) -> None:
    table = classifier_f1(taught.probe("classifier_f1"), taught.setting("training.classifier_objective"))
    ours = table[table["source"] == "this run"]
    assert ours.groupby("objective")["layer"].apply(list).to_dict() == {
        "geometric": [1, 2, 3, 4, 5, 6, 7],
        "independent": [1, 2, 3, 4, 5, 6, 7],
    }
    theirs = table[table["source"] == "published"].set_index(["task", "objective", "layer"])["f1"]
    assert len(theirs) == 18
    assert theirs["squad", "independent", 1] == 0.76
    assert theirs["wmt15_enfr", "geometric", 7] == 0.11
    shown = classifier_f1_shown(table)
    assert shown.columns.tolist()[4:8] == ["layer 1*", "layer 2", "layer 3", "layer 4*"]
    assert shown["value"].tolist()[:3] == ["tokens that disagree", "F1", "F1"]
    assert shown.iloc[0]["layer 1*"] == "30%"
    assert shown.iloc[1]["layer 1*"] == "0.60 (0.55 to 0.65)"
    assert shown.iloc[3].tolist()[:4] == ["squad", "geometric", "published", "F1"]
    with pytest.raises(InputError, match="classifier_f1"):
        classifier_f1(taught.probe("classifier_f1").iloc[:0], taught.setting("seed"))


def test_state_copying_has_a_row_per_way_and_the_published_one_below(write_run) -> None:
    for way in ("projected_kv", "exit_state"):
        last = write_run(run_id=way, n=4, name="state_copying", config={"state_copying": way})
    both = load(last.parent, quiet=True)
    texts = both.generations(both.frontier.query("measure in ('full', 'oracle')"))
    table = state_copying(both.frontier, both.setting("state_copying"), both.runs, texts)
    rows = list(table[["state_copying", "source"]].itertuples(index=False, name=None))
    assert rows == [
        ("full", "this run"), ("full", "published"), ("exit_state", "this run"), ("exit_state", "published"),
        ("first_state", "published"), ("projected_kv", "this run"), ("projected_kv", "published"),
    ]  # fmt: skip
    oracle = both.frontier.query("measure == 'oracle' and run_id == 'exit_state'").iloc[0]
    assert table.iloc[2][["score", "score_low", "mean_exit_layer"]].tolist() == pytest.approx(
        oracle[["score", "score_low", "mean_exit_layer"]].tolist()
    )
    assert table.iloc[2]["similarity"] == pytest.approx(1 - oracle["textual_loss"])
    for row in table[table["lost"].notna()].to_dict("records"):
        pairs = texts[texts["run_id"] == row["run_id"]].pivot(index="example", columns="measure", values="score")
        expected = stats.ttest_rel(pairs["full"], pairs["oracle"])
        assert row["lost"] == pytest.approx(100 * (pairs["full"] - pairs["oracle"]).mean())
        paired = expected.confidence_interval(0.95)
        assert [row["lost_low"], row["lost_high"]] == pytest.approx([100 * paired.low, 100 * paired.high])
    shown = state_copying_shown(table)
    assert shown.iloc[3].tolist() == ["exit_state", "cnndm", "published", "ROUGE-L 38.24", "", "", "1.53"]
    with pytest.raises(InputError, match="oracle"):
        state_copying(both.frontier.query("measure != 'oracle'"), both.setting("state_copying"), both.runs, texts)


def test_formats(squad: Records, tmp_path: Path) -> None:
    table = efficiency(squad.certificates, squad.runs)
    shown = efficiency_shown(table)
    commands = {"r1": "python -m calm_bench +experiment=squad"}
    assert write_table(tmp_path / "t", Table(table, shown, "A note."), commands) == ("t.csv", "t.md", "t.tex")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    latex, markdown = (tmp_path / "t.tex").read_text(), (tmp_path / "t.md").read_text()
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"$\delta$", "published"))
    for text in (latex, markdown):
        assert "published" in text
        assert "A note." in text
        assert "python -m calm_bench +experiment=squad  # r1" in text
    write_table(tmp_path / "u", Table(table, shown.rename(columns={"measure": "a_b"}), ""), {})
    assert r"a\_b" in (tmp_path / "u.tex").read_text()


def test_each_seed_has_its_own_row_and_trials_in_the_certified_table(write_run) -> None:
    for seed in (0, 1):
        last = write_run(run_id=f"seed{seed}", n=6, seed=seed)
    records = load(last.parent, quiet=True)
    table = certified(records.certificates)
    assert set(table["trials"]) == {50}
    assert not table.duplicated(["run_id", "objective", "delta", "measure"]).any()
    assert table["run_id"].value_counts().to_dict() == {"seed0": len(table) / 2, "seed1": len(table) / 2}


def test_every_timed_arm_is_a_row_of_the_speed_table(write_run) -> None:
    path = write_run(n=4)
    about = json.loads((path / "run.json").read_text())
    known = {"executor": "native", "n": 4, "encoder_milliseconds": 0.4, "same_texts": 1.0}
    unknown = dict.fromkeys(("over_peer", "over_ideal", "gb_per_second", "bandwidth_share"))
    arms = [("full", 8.0, 1.8, 1.0), ("softmax@0.5", 2.5, 1.2, 0.667)]
    about["summary"]["speed"] = [
        {"arm": arm, "mean_exit_layer": layers, "milliseconds": ms, "over_full": share, **known, **unknown}
        for arm, layers, ms, share in arms
    ]
    (path / "run.json").write_text(json.dumps(about))
    (output,) = [output for output in CATALOGUE if output.stem == "speed"]
    table = output.make(load(path))
    assert isinstance(table, Table)
    assert table.shown[["one text", "layers", "ms", "/ full", "/ ideal"]].to_numpy().tolist() == [
        ["full", "8.00", "1.80", "1.000", ""],
        ["softmax@0.5", "2.50", "1.20", "0.667", ""],
    ]
    assert table.tidy["milliseconds"].tolist() == [1.8, 1.2]
    assert table.tidy["hardware"].tolist() == table.shown["hardware"].tolist() == ["a test"] * 2
    with pytest.raises(InputError, match="no run was timed"):
        output.make(load(write_run(run_id="untimed", n=4)))
