"""The explorer in a real browser: its numbers are the records', texts stay texts, and the keyboard is enough.

Skipped where Chromium is not installed.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import Records, compact, load, report, rules
from analysis.report import explorer
from tests.analysis.conftest import write
from tests.analysis.report.browser import Browser, needs_chromium

pytestmark = needs_chromium
# What an id may be, and what a text may hold.
AWKWARD_IDS = {"e0000": "</script>\"'><b onmouseover=alert(1)>", "e0002": '50% a/b#c?d & "it\'s"', "e0003": "שלום"}
RIGHT_TO_LEFT, LONG, EMPTY = 3, 4, 5


def spoilt(frames: dict[str, Any]) -> dict[str, Any]:
    tokens, generations, examples = (frames[name].copy() for name in ("tokens", "generations", "examples"))
    words = tokens["piece"] != "</s>"
    tokens.loc[(tokens["example"] == RIGHT_TO_LEFT) & words, "piece"] = "▁שלום"
    tokens.loc[(tokens["example"] == LONG) & words, "piece"] = "antidisestablishmentarianism" * 20
    tokens = tokens[(tokens["example"] != EMPTY) | ~words]
    tokens.loc[tokens["example"] == EMPTY, "position"] = 0
    for example, text in ((RIGHT_TO_LEFT, "שלום עולם"), (LONG, "antidisestablishmentarianism" * 20), (EMPTY, "")):
        generations.loc[generations["example"] == example, "prediction"] = text
        examples.loc[example, "source"] = text
        examples.at[example, "references"] = [text]
    examples["id"] = examples["id"].replace(AWKWARD_IDS)
    return {**frames, "tokens": tokens, "generations": generations, "examples": examples}


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("awkward")
    report.write(load(write(folder, change=spoilt)), folder / "index.html", [])
    return folder / "index.html"


def test_a_generation_with_a_script_is_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.choose("example", 1)
    assert "<script>alert('x')</script>" in browser.text("full")
    assert browser.js("document.querySelectorAll('main script, #early script').length") == 0


@pytest.mark.parametrize("example", range(6))
def test_awkward_texts_and_ids_are_shown_as_they_are(browser: Browser, awkward: Path, example: int) -> None:
    browser.events.clear()
    browser.open(awkward, 390)
    browser.choose("example", example)
    assert browser.js("document.documentElement.scrollWidth") <= 390
    assert browser.js("document.querySelectorAll('#explorer b, #explorer script').length") == 0
    shown = browser.js("document.getElementById('example').selectedOptions[0].textContent")
    before = AWKWARD_IDS.get(f"e{example:04d}", f"e{example:04d}")
    assert shown.startswith(before + ": ")
    link, early = browser.js("document.getElementById('link').hash"), browser.text("early")
    browser.open(awkward, 390, link=link)
    assert browser.js("document.getElementById('example').selectedOptions[0].textContent") == shown
    assert browser.text("early") == early
    assert browser.bad_news() == []


def test_a_text_from_right_to_left_is_walked_from_right_to_left(browser: Browser, awkward: Path) -> None:
    browser.open(awkward)
    browser.choose("example", 3)
    tokens = "[...document.querySelectorAll('#early [role=option]')]"
    left = f"{tokens}.slice(0, 2).map(t => t.getBoundingClientRect().left)"
    first, second = browser.js(left)
    assert second < first
    browser.js(f"{tokens}[0].focus()")
    browser.press("ArrowLeft")
    assert browser.js(f"{tokens}.indexOf(document.activeElement)") == 1
    assert browser.violations() == []


def test_an_empty_generation_says_so(browser: Browser, awkward: Path) -> None:
    browser.open(awkward)
    browser.choose("example", 5)
    assert browser.text("early") == "</s>"
    assert browser.text("full") == browser.text("references") == "(no text)"
    assert browser.numbers()["tokens"] == "1"
    assert browser.violations() == []


def test_the_numbers_are_those_of_the_records(browser: Browser, page: Path, records: Records) -> None:
    shown = rules.shown(records, explorer.MAX_RULES)
    generations = records.generations(records.rules).set_index(["rule", "example"])
    frontier, examples = records.frontier.set_index("rule"), records.examples.set_index("example")
    browser.open(page)
    for place, rule in enumerate(shown["rule"]):
        browser.choose("rule", place)
        for example in (0, place, 23):
            browser.choose("example", example)
            row, full = (generations.loc[(one, example)] for one in (rule, 0))
            said = browser.numbers()
            assert said["mean layers"] == f"{row['mean_exit_layer']:.2f} of 8"
            assert said["tokens"] == str(row["n_tokens"])
            assert said["D, distance to the full text (1 − similarity)"] == f"{row['textual_loss']:.3f}"
            assert float(said["score (similarity, 0 to 100)"]) == pytest.approx(100 * row["score"], abs=0.1)
            assert float(said["ΔR, score lost to the full model (0 to 1)"]) == round(full["score"] - row["score"], 3)
            ratio, low, high = frontier.loc[rule, ["speedup", "speedup_low", "speedup_high"]]
            if pd.isna(ratio):
                assert said["speedup of this rule"] == "not timed"
            else:
                assert said["speedup of this rule (95% interval)"] == f"{ratio:.2f} ({low:.2f}\N{EN DASH}{high:.2f})"
            assert browser.text("full") == full["prediction"]
            assert browser.text("references") == "".join(examples.loc[example, "references"])
            early = "[...document.querySelectorAll('#early [role=option]')].map(t => t.textContent)"
            assert browser.js(early) == [*row["prediction"].split(), "</s>"]


def test_the_token_where_the_texts_part_is_underlined(browser: Browser, page: Path) -> None:
    browser.open(page)
    seen = set()
    for rule in range(explorer.MAX_RULES):
        browser.choose("rule", rule)
        for example in range(0, 24, 4):
            browser.choose("example", example)
            early = browser.js("[...document.querySelectorAll('#early [role=option]')].map(t => t.textContent)")
            full = [*browser.text("full").split(), "</s>"]
            same = [a == b for a, b in zip(early, full, strict=False)]
            agreed = same.index(False) if False in same else len(early)
            parted = "[...document.querySelectorAll('#early [role=option]')].map(t => t.classList.contains('parted'))"
            assert browser.js(parted) == [place == agreed for place in range(len(early))]
            expected = "all tokens" if agreed == len(early) else f"the first {agreed}"
            assert browser.numbers()["as the full model writes"] == expected
            seen.add(agreed == len(early))
    assert seen == {True, False}


def test_the_keyboard_reaches_every_token_and_control(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.choose("example", 0)
    browser.js("document.getElementById('rule').focus()")
    for expected in ("example", "next", "link"):  # "previous" is off at the first example
        browser.press("Tab")
        assert browser.js("document.activeElement.id") == expected
    browser.press("Tab")
    active = "document.activeElement.getAttribute"
    assert browser.js(f"{active}('role')") == "option"
    first = browser.js(f"{active}('aria-label')")
    assert ": layer " in first
    browser.press("ArrowRight")
    assert browser.js(f"{active}('aria-label')") == browser.text("token") != first
    browser.press("End")
    assert browser.js("document.activeElement === document.querySelector('#early [role=option]:last-child')")
    browser.press("Home")
    assert browser.js(f"{active}('aria-label')") == first
    assert browser.js("document.querySelectorAll('#early [tabindex=\"0\"]').length") == 1


def test_next_and_another_rule_redraw(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.choose("example", 0)
    before = browser.text("full")
    browser.js("document.getElementById('next').click()")
    assert browser.js("document.getElementById('example').value") == "1"
    assert browser.text("full") != before
    browser.choose("rule", 0)
    assert browser.text("early-title") == "Early exit: full model"
    colours = "new Set([...document.querySelectorAll('#early [role=option]')].map(t => t.style.backgroundColor)).size"
    assert browser.js(colours) == 1


def test_search_order_and_the_address(browser: Browser, page: Path, records: Records) -> None:
    browser.open(page)
    losses = "groups[0].examples.map(e => e.rules[picked.rule][3])"
    browser.js("{const e = at('order'); e.value = 'loss'; e.dispatchEvent(new Event('change'))}")
    listed = browser.js("[...at('example').options].map(o => Number(o.value))")
    values = browser.js(losses)
    assert [values[place] for place in listed] == sorted(values, reverse=True)
    assert browser.js("picked.example") == listed[0]
    assert browser.js("location.hash") == browser.js("at('link').hash")
    browser.js("{const e = at('search'); e.value = 'e0007'; e.dispatchEvent(new Event('input'))}")
    assert browser.js("[...at('example').options].map(o => o.textContent.slice(0, 5))") == ["e0007"]
    assert browser.text("found") == "1 of 24 found"
    assert browser.js("location.hash").endswith("/e0007")
    assert browser.violations() == []


def test_two_rules_stand_side_by_side(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.choose("beside", browser.js("picked.rule"))
    colours = "[...at('{}').querySelectorAll('[role=option]')].map(t => t.style.backgroundColor)"
    assert browser.js(colours.format("full")) == browser.js(colours.format("early"))[:-1]  # but for </s>


def test_records_without_texts_have_no_explorer(browser: Browser, page: Path, tmp_path: Path) -> None:
    hidden = "['explorer', 'textless'].map((id) => document.getElementById(id).hidden)"
    browser.open(page)
    assert browser.js(hidden) == [False, True]
    write(tmp_path / "runs", n=4)
    assert compact.main([str(tmp_path / "runs"), "--out", str(tmp_path / "compact")]) == 0
    report.write(load(tmp_path / "compact"), tmp_path / "index.html", [])
    browser.open(tmp_path / "index.html")
    assert browser.js(hidden) == [True, False]
