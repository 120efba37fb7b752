"""Runs that ask one question are drawn side by side, others group by group; what lacks is said."""

from pathlib import Path

import pytest

from analysis import draw, load, report, scopes
from analysis.catalogue import CATALOGUE
from analysis.outputs import make


@pytest.fixture
def several(write_run):
    write_run(run_id="demo", n=6)
    for tau in (0.0, 4.0):
        for limit in (None, 9):
            config = {"threshold": {"tau": tau}, "limit": limit}
            last = write_run(run_id=f"decay-{tau:g}-{limit}", n=10, name="decay", config=config)
    return load(last.parent, quiet=True)


def test_runs_of_one_question_are_not_drawn_group_by_group(several) -> None:
    assert list(scopes.groups(several)) == ["demo-tatoeba_enfr"]
    assert set(scopes.ordinary(several)[""].runs["run_id"]) == {"demo"}
    assert len(scopes.everything(several)[""].runs) == 5


def test_runs_that_differ_in_one_key_only_stand_side_by_side(several) -> None:
    parts = scopes.apart("decay", "threshold.tau")(several)
    assert {label: set(part.runs["run_id"]) for label, part in parts.items()} == {
        "decay-tatoeba_enfr-no-limit": {"decay-0-None", "decay-4-None"},
        "decay-tatoeba_enfr": {"decay-0-9", "decay-4-9"},
    }
    for label, part in parts.items():
        assert set(part.frontier["group"]) == {label}


def test_what_lacks_is_said_with_the_command_that_makes_it(several, tmp_path: Path) -> None:
    made, missing = make(several.only(several.runs["name"] == "decay"), tmp_path)
    assert [entry.name for entry in made] == [
        "threshold-decay", "data", "classifier",
        *(f"perturbation-{group}" for group in several.groups if group.startswith("decay")),
        "decay-points-decay-tatoeba_enfr", "decay-points-decay-tatoeba_enfr-no-limit",
    ]  # fmt: skip
    assert missing == [
        "no runs of +experiment=state_copying: python -m calm_bench +experiment=state_copying makes them",
        "Seconds of every timed arm: no run was timed (timing.examples above 0)",
    ]
    assert "python -m calm_bench +experiment=decay  # decay-0-9" in (tmp_path / "classifier.md").read_text()


def test_every_output_has_a_stem_of_its_own() -> None:
    stems = [output.stem for output in CATALOGUE]
    assert len(stems) == len(set(stems))


def test_a_lone_run_of_one_question_has_its_own_figures_and_page(write_run, only, tmp_path: Path) -> None:
    only("frontier")
    run = load([write_run(run_id="decay-1", name="decay", config={"threshold": {"tau": 1}})])
    made, _ = draw(run, tmp_path / "figures")
    assert "frontier" in {entry.name.split("-")[0] for entry in made}
    assert 'id="group-1"' in (tmp_path / "figures" / "index.html").read_text()


def test_the_page_leaves_out_what_is_not_drawn_group_by_group(several, tmp_path: Path) -> None:
    report.write(several, tmp_path / "index.html", [])
    page = (tmp_path / "index.html").read_text()
    assert all(group in page for group in scopes.groups(several))
    assert not any(f">{group}</h2>" in page for group in set(several.groups) - set(scopes.groups(several)))
