"""How a run ends: its question, an answer for each tolerance, and one small table."""

from pathlib import Path
from typing import Any

import pytest

from calm_bench import console, summary
from calm_bench.records.store import Run
from tests.analysis.conftest import write


def slow_rules(frames: dict[str, Any]) -> dict[str, Any]:
    """Every rule but the full model takes 1.25 times its seconds."""
    full = frames["frontier"]["rule"].eq(frames["rules"].query("kind == 'full'")["rule"].iloc[0])
    times = full.map({True: 1.0, False: 1.25})
    speedup = dict.fromkeys(("speedup", "speedup_low", "speedup_high"), 1 / times)
    return {**frames, "frontier": frames["frontier"].assign(seconds=0.01 * times, **speedup)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(write(tmp_path, change=slow_rules, config={"question": "How many layers?"}))


def test_the_question_comes_first_and_all_of_it_fits_a_screen(run: Run) -> None:
    lines = summary.lines(run)
    assert lines[0] == "How many layers?"
    shown = "\n".join(lines).splitlines()
    assert len(shown) <= 23  # below them stand the report and the run
    assert max(map(len, shown)) <= console.WIDTH


def test_each_tolerance_has_an_answer_with_its_numbers(run: Run) -> None:
    certificates = summary.issued(run)
    tolerances = certificates[["objective", "delta"]].drop_duplicates()
    answers = summary.answers(run, certificates)
    assert len(answers) == len(tolerances)
    for answer, (objective, delta) in zip(answers, tolerances.itertuples(index=False), strict=True):
        assert answer.startswith(f"{objective} δ = {delta:g}: ")


def test_a_certified_rule_that_is_slower_is_said_to_be(run: Run) -> None:
    lines = summary.lines(run)
    header = next(place for place, line in enumerate(lines) if line.startswith("rule "))
    table = lines[header + 2 : lines.index(summary.LEGEND.format(50))]  # below the full model
    assert table
    assert all("(slower)" in line for line in table if "slower than" not in line)
    assert any(line.startswith("slower than full model, which loses nothing: ") for line in lines)
    assert any("slower (0.80 times the speed)" in line for line in lines)


def a_quick_draft(frames: dict[str, Any]) -> dict[str, Any]:
    """The oracle's row as a speculative rule that takes half of the full model's seconds."""
    frames, rules = slow_rules(frames), frames["rules"]
    mine = rules["kind"] == "oracle"
    drafting = {"kind": "speculative", "name": "speculative@1,2", "drafts": 2.0}
    rules = rules.assign(**{name: rules[name].mask(mine, value) for name, value in drafting.items()})
    frontier = frames["frontier"]
    quick = frontier["seconds"].mask(frontier["rule"].isin(rules.loc[mine, "rule"]), 0.005)
    return {**frames, "rules": rules, "frontier": frontier.assign(seconds=quick)}


def test_the_lossless_rule_is_named_with_its_layer_and_drafts(tmp_path: Path) -> None:
    lines = summary.lines(Run.open(write(tmp_path, change=a_quick_draft)))
    assert any(line.startswith("speculative@1,2 ") for line in lines)
    (line,) = [line for line in lines if line.startswith("speculative@1,2: the full model's text, ")]
    assert " drafts kept; slower: softmax λ = " in line


@pytest.mark.parametrize("beaten", [True, False])
def test_a_model_no_better_than_a_trivial_text_is_not_advertised(beaten: bool, run: Run) -> None:
    about = {"name": "a copy of the source", "score": 12.0, "ahead": 0.5, "ahead_low": -1.0, "ahead_high": 2.0}
    run.info["summary"]["trivial"] = {**about, "beaten": beaten}
    lines = summary.lines(run)
    assert lines[1].endswith("; a copy of the source: 12.0")
    assert any(line.startswith("the full model does not beat a copy of the source") for line in lines) is not beaten
    assert any(line.startswith("textual δ = ") for line in lines) is beaten
    assert any(line.startswith("rule ") for line in lines)
