"""The slider's table says what certification says at every δ, and the page shows it."""

from pathlib import Path

import pytest

from analysis import Records, load, report
from analysis.report.slider import slider
from calm_bench.calibration import METHODS, certify
from tests.analysis.report.browser import Browser, needs_chromium

HEADS = "[...document.querySelectorAll('section h3 ~ .table th')].map(head => head.textContent)"


@pytest.mark.parametrize("objective", ["textual", "risk"])
def test_each_point_is_the_certificate_at_that_tolerance(records: Records, objective: str) -> None:
    table = slider(records)
    assert table is not None
    (run,) = records.stored.values()
    outcomes = run.outcomes
    for grid in outcomes.grids:
        points = table["objectives"][objective][grid.measure]
        assert [point[0] for point in points] == sorted({point[0] for point in points})
        for delta, key, held, trials, loss, state in points[::7]:
            made = certify(
                outcomes.losses[objective][grid.rules], grid.thresholds, objective=objective, delta=delta,
                epsilon=0.05, measure=grid.measure, method=METHODS["ltt"],
            )  # fmt: skip
            rule = outcomes.full if made.index is None else int(grid.rules[made.index])
            layers = records.frontier.set_index("rule").loc[rule, "mean_exit_layer"]
            assert table["rules"][key]["mean_exit_layer"][0] == pytest.approx(layers, rel=1e-4)
            assert (key == table["full"]) == (made.index is None)
            assert 0 <= held <= trials == 50
            assert 0 <= loss <= 1
            assert state in ("held", "broke", "unclear")
            assert (state == "held") == (loss <= delta + 1e-4)
    assert set(table["promised"][objective]) <= {point[0] for point in points}


def test_records_without_losses_have_no_slider(write_run) -> None:
    records = load(write_run(n=4, config={"calibration": {"method": "from elsewhere"}}))
    assert slider(records) is None


@needs_chromium
def test_moving_it_shows_another_rule_and_what_it_costs(browser: Browser, page: Path) -> None:
    browser.events.clear()
    browser.open(page)
    assert {"n", "method", "ε"}.isdisjoint(browser.js(HEADS))  # one for all promises, whose heads say it
    assert {"measure", "threshold", "trials above δ"} <= set(browser.js(HEADS))
    move = "{{const e = document.getElementById('delta-1'); e.value = {}; e.dispatchEvent(new Event('input'))}}"
    browser.js(move.format(0))
    assert "the full model runs" in browser.text("slider-1")
    assert "8.00 of 8" in browser.text("slider-1")
    browser.js(move.format(39))
    assert "δ = 0.4" in browser.text("slider-1")
    assert "8.00 of 8" not in browser.text("slider-1")
    assert browser.bad_news() == []
    assert browser.violations() == []


@needs_chromium
def test_two_groups_stand_side_by_side_at_a_promise_that_both_made(browser: Browser, write_run, tmp_path: Path) -> None:
    runs = [write_run(run_id=name, name=name, n=n) for name, n in (("one", 24), ("two", 40))]
    records = load(runs)
    report.write(records, tmp_path / "index.html", [])
    browser.events.clear()
    browser.open(tmp_path / "index.html", 390)
    assert browser.js("[...document.querySelector('#promise').options].map((one) => one.text)") == [
        "textual δ = 0.1", "textual δ = 0.25", "risk δ = 0.02", "risk δ = 0.05",
    ]  # fmt: skip
    browser.js("{const e = at('promise'); e.selectedIndex = 1; e.dispatchEvent(new Event('change'))}")
    cells = browser.js("[...at('sides').tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))")
    table = {(row[0] or cells[place - 1][0], row[1]): row[3] for place, row in enumerate(cells)}
    for group, run in zip(records.groups, records.stored.values(), strict=True):
        part = slider(records.of(group))
        assert part is not None
        for grid in run.outcomes.grids:
            (point,) = [one for one in part["objectives"]["textual"][grid.measure] if one[0] == 0.25]
            layers = part["rules"][point[1]]["mean_exit_layer"][0]
            assert table[grid.measure, group].startswith(f"{layers:.2f}")
    browser.choose("right", 0)
    assert "two" not in browser.text("sides")
    assert browser.bad_news() == []
    assert browser.violations() == []


@needs_chromium
def test_first_it_shows_what_saves_most_at_the_loosest_promise(browser: Browser, records: Records, page: Path) -> None:
    browser.open(page)
    table = slider(records)
    assert table is not None
    loosest = table["promised"]["textual"][-1]
    by_measure = table["objectives"]["textual"].items()
    rules = {name: table["rules"][key] for name, points in by_measure for delta, key, *_ in points if delta == loosest}
    saved = {name: rule["speedup"][0] for name, rule in rules.items()}
    if None in saved.values():  # not all were timed
        saved = {name: -rule["mean_exit_layer"][0] for name, rule in rules.items()}
    assert saved[browser.js("document.getElementById('measure-1').value")] == max(saved.values())
