"""Loading: which runs count, what is said of the others, and what every row carries."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import Records, load
from calm_bench.errors import InputError
from tests.analysis import conftest

FRAMES = ("rules", "examples", "exits", "frontier", "certificates", "timings")


def test_every_frame_says_which_run_a_row_belongs_to(records: Records) -> None:
    for name in FRAMES:
        frame = getattr(records, name)
        assert len(frame), name
        assert list(frame.columns[:5]) == ["run_id", "name", "task", "model", "group"]
        assert set(frame["run_id"]) == set(records.runs["run_id"])
    rules = conftest.chosen(records, softmax=0.5)
    for frame in (records.generations(rules), records.tokens(rules)):
        assert list(frame.columns[:5]) == ["run_id", "name", "task", "model", "group"]
        assert set(frame["measure"]) == {"softmax"}
        assert set(frame["threshold"]) == {0.5}
        assert set(frame["example_id"]) == set(records.examples["example_id"])
    run = records.runs.iloc[0]
    assert (run["layers"], run["quality"], run["group"]) == (8, "BLEU", "demo-tatoeba_enfr")


def test_a_run_without_timings_has_an_empty_frame(write_run) -> None:
    records = load(write_run(timed=False))
    assert records.timings.empty
    assert {"seconds", "arm", "run_id"} <= set(records.timings.columns)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_unfinished_runs_are_left_out_and_said(write_run, capsys: pytest.CaptureFixture[str], status: str) -> None:
    done = write_run(run_id="done")
    write_run(run_id="torn-off", status=status)
    assert set(load(done.parent).runs["run_id"]) == {"done"}
    assert f"left out torn-off: its status is {status}" in capsys.readouterr().err


def test_a_folder_of_tables_without_a_record_is_said(write_run) -> None:
    done = write_run(run_id="done")
    (write_run(run_id="headless") / "run.json").unlink()
    assert load(done.parent, quiet=True).notes == ("left out headless: it has no run.json",)


def test_only_unfinished_runs_is_an_error_that_says_so(write_run) -> None:
    run = write_run(status="interrupted")
    with pytest.raises(InputError, match="no finished run .* its status is interrupted"):
        load(run)


def test_an_older_schema_is_left_out_and_refused_where_it_is_all_there_is(write_run) -> None:
    old = write_run(run_id="old", schema_version=2)
    with pytest.raises(InputError, match=r"old/run.json: schema_version 2 is older than 3"):
        load(old)
    records = load(write_run(run_id="new", seed=1).parent, quiet=True)
    assert list(records.runs["run_id"]) == ["new"]
    assert records.notes[0].startswith("left out old: unreadable: ")


def test_a_missing_table_and_a_missing_folder_are_one_line(write_run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frontier\.parquet"):
        load(write_run(drop=("frontier",)))
    with pytest.raises(InputError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_of_two_runs_of_one_config_the_later_counts(write_run) -> None:
    write_run(run_id="b-first", created="2026-01-01T00:00:00")
    later = write_run(run_id="a-later", created="2026-01-02T00:00:00")
    records = load(later.parent, quiet=True)
    assert set(records.rules["run_id"]) == {"a-later"}
    assert records.notes == ("left out b-first: a-later is a later run of the same config",)


def test_the_same_folder_given_twice_counts_once(write_run) -> None:
    run = write_run()
    assert len(load([run, run.parent]).runs) == 1


def test_seeds_share_a_group_and_models_do_not(write_run) -> None:
    write_run(run_id="a", seed=0, created="2026-01-01T00:00:00")
    write_run(run_id="b", seed=1, created="2026-01-02T00:00:00")
    last = write_run(run_id="c", seed=0, model="other", created="2026-01-03T00:00:00")
    records = load(last.parent, quiet=True)
    groups = dict(zip(records.runs["run_id"], records.runs["group"], strict=True))
    assert groups == {"a": "demo-tatoeba_enfr", "b": "demo-tatoeba_enfr", "c": "demo-tatoeba_enfr-other"}
    assert "different configs are kept apart" in records.notes[0]
    assert records.of("demo-tatoeba_enfr").draws == ["seed 0", "seed 1"]
    assert list(records.of("demo-tatoeba_enfr").one().runs["run_id"]) == ["a"]


def test_names_stay_when_another_run_appears(write_run) -> None:
    names: dict[str, str] = {}
    for day, (run_id, config) in enumerate(
        [
            ("a", {"limit": 500}),
            ("b", {"limit": 20}),
            ("c", {"limit": 20, "threshold": {"grid": [0.5, 0.25]}}),
            ("d", {"limit": 20, "threshold": {"grid": [0.5, 0.1]}}),
            ("e", {"limit": 500, "calibration": {"trials": 50, "seed": 7}}),
        ],
        start=1,
    ):
        last = write_run(run_id=run_id, n=2, config=config, created=f"2026-01-0{day}T00:00:00")
        found = load(last.parent, quiet=True).runs.set_index("run_id")["group"].to_dict()
        assert {known: found[known] for known in names} == names
        assert len(set(found.values())) == len(found)
        names = found
    assert names["a"] == "demo-tatoeba_enfr"
    assert names["b"] == "demo-tatoeba_enfr-limit20"
    assert "seed" not in "".join(names.values())


def test_fewer_measures_later_leave_out_no_earlier_run(write_run) -> None:
    write_run(run_id="all", n=2, created="2026-01-01T00:00:00")
    last = write_run(run_id="one", n=2, measures=("softmax",), created="2026-01-02T00:00:00")
    groups = load(last.parent, quiet=True).runs.set_index("run_id")["group"].to_dict()
    assert groups == {"all": "demo-tatoeba_enfr", "one": "demo-tatoeba_enfr-softmax"}


def test_measures_run_one_by_one_share_a_group_and_its_baselines_once(write_run) -> None:
    write_run(run_id="a", measures=("softmax",))
    last = write_run(run_id="b", measures=("state",))
    records = load(last.parent, quiet=True)
    assert records.notes == ()
    part = records.of(records.groups[0])
    assert len(records.groups) == 1
    assert set(part.frontier["measure"]) == {"softmax", "state", "static", "oracle", "full"}
    assert (part.frontier["measure"] == "full").sum() == 1
    assert not part.frontier.duplicated(["measure", "threshold"]).any()
    assert not part.rules.duplicated(["measure", "threshold"]).any()
    tokens = part.tokens(part.rules)
    assert not tokens.duplicated(["example_id", "measure", "threshold", "position"]).any()
    assert part.exits["count"].sum() == len(tokens)


def test_a_torn_record_names_its_file(write_run) -> None:
    run = write_run()
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json"):
        load(run)


@pytest.mark.parametrize("table", ["tokens", "certificates"])
def test_a_record_that_is_not_as_it_was_written_is_left_out(write_run, table: str) -> None:
    whole, spoilt = write_run(run_id="whole", n=2), write_run(run_id="spoilt", n=2, seed=1)
    file = spoilt / f"{table}.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    records = load(whole.parent, quiet=True)
    assert set(records.runs["run_id"]) == {"whole"}
    assert f"left out spoilt: {file}: it is not the file that was written" in records.notes[-1]


@pytest.mark.parametrize("text", ["null", '{"schema_version": 3}', "[" * 100_000, '{"schema_version": "3"}'])
def test_a_run_json_of_another_shape_is_left_out(write_run, text: str) -> None:
    whole, spoilt = write_run(run_id="whole", n=2), write_run(run_id="spoilt", n=2, seed=1)
    (spoilt / "run.json").write_text(text)
    records = load(whole.parent, quiet=True)
    assert set(records.runs["run_id"]) == {"whole"}
    assert records.notes[0].startswith("left out spoilt: unreadable: ")


def test_analysis_needs_no_torch() -> None:
    code = "import analysis, analysis.__main__, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_run_gives_back_what_was_written(write_run) -> None:
    run = write_run()
    records = load(run)
    written = pd.read_parquet(run / "frontier.parquet")
    pd.testing.assert_frame_equal(records.frontier[written.columns], written, check_dtype=False)
    assert records.runs["promises"].iloc[0] == json.loads((run / "run.json").read_text())["promises"]


def test_runs_that_differ_in_one_value_are_named_by_it(write_run) -> None:
    for tau in (0.0, 4.0):
        write_run(run_id=f"tau{tau}", n=2, name="decay", config={"threshold": {"tau": tau}})
    for run_id, way, limit in (("a", "exit_state", None), ("b", "projected_kv", None), ("c", "exit_state", 9)):
        last = write_run(run_id=run_id, n=2, name="copying", config={"state_copying": way, "limit": limit})
    records = load(last.parent, quiet=True)
    groups = records.runs.set_index("run_id")["group"].to_dict()
    assert groups == {
        "tau0.0": "decay-tatoeba_enfr",
        "tau4.0": "decay-tatoeba_enfr-tau4",
        "a": "copying-tatoeba_enfr",
        "b": "copying-tatoeba_enfr-projected_kv",
        "c": "copying-tatoeba_enfr-limit9",
    }
    assert records.setting("threshold.tau")[["tau0.0", "tau4.0"]].tolist() == [0, 4]
    assert records.setting("threshold.tau")["a"] is None


def test_one_config_that_met_two_models_is_separated(write_run) -> None:
    last = write_run(run_id="a", n=2)
    record = last.parent / "b" / "run.json"
    shutil.copytree(last, record.parent)
    info = json.loads(record.read_text())
    info |= {"run_id": "b", "summary": {**info["summary"], "model_identity": "trained again"}}
    record.write_text(json.dumps(info))
    groups = load(last.parent, quiet=True).runs.set_index("run_id")["group"].to_dict()
    assert groups["a"] == "demo-tatoeba_enfr"
    assert groups["b"].startswith("demo-tatoeba_enfr-weights-")


def test_groups_that_were_timed_elsewhere_are_called_by_where(write_run) -> None:
    card, arms = {"name": "NVIDIA H200"}, [{"arm": "full"}]
    at = [  # by run: its configuration, the machine's card, whether it was timed
        ("a", {"device": "cuda"}, card, True),
        ("b", {"device": "auto", "calibration": {"trials": 0}}, None, True),
        ("c", {"device": "cpu", "limit": 9}, card, True),
        ("d", {"device": "auto", "timing": {"examples": 0}}, None, False),
    ]
    for place, (run_id, config, gpu, timed) in enumerate(at):
        path = write_run(run_id=run_id, n=2, config=config, timed=timed, created=f"2026-01-0{place + 1}T00:00:00")
        info = json.loads((path / "run.json").read_text())
        info["environment"] |= {"gpu": gpu, "cpu": "AMD EPYC"}
        info["summary"]["speed"] = arms if timed else []
        (path / "run.json").write_text(json.dumps(info))
    records = load(path.parent, quiet=True)
    runs = records.runs.set_index("run_id")
    *ends, untimed = runs["group"].str.removeprefix("demo-tatoeba_enfr")
    assert ends == ["", "-cpu", "-limit9"]
    assert "cpu" not in untimed
    assert runs["hardware"].tolist() == ["NVIDIA H200", "AMD EPYC", "AMD EPYC", "AMD EPYC"]
    assert records.timed_on == "NVIDIA H200 and AMD EPYC"
    assert [records.of(group).timed_on for group in records.groups] == ["NVIDIA H200", "AMD EPYC", "AMD EPYC", ""]
