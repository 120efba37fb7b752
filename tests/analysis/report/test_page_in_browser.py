"""The page in a real browser: no errors, nothing that axe-core finds, nothing from elsewhere, and it fits.

Skipped where Chromium is not installed.
"""

from pathlib import Path

import pytest

from analysis import Records, load, report
from tests.analysis.conftest import write
from tests.analysis.report.browser import Browser, needs_chromium
from tests.analysis.report.test_page import without_pieces

pytestmark = needs_chromium
EVERYWHERE = pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])


@EVERYWHERE
def test_it_opens_without_errors_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.events.clear()
    browser.open(page, width, dark)
    assert browser.bad_news() == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert set(asked) <= {page.as_uri(), "about:blank"}
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 23, 27)" if dark else "rgb(255, 255, 255)"
    )


@EVERYWHERE
def test_axe_finds_nothing(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark)
    assert browser.violations() == []


def test_axe_would_find_pale_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelector('header p').style.color = '#aaaaaa'")
    assert [found for found in browser.violations() if found.startswith("color-contrast")]


def test_axe_finds_nothing_where_there_is_little(browser: Browser, write_run, tmp_path: Path) -> None:
    report.write(load(write_run(n=4, timed=False, drop=("certificates",))), tmp_path / "index.html", [])
    browser.events.clear()
    browser.open(tmp_path / "index.html", 390)
    assert browser.violations() == []
    assert browser.numbers()["speedup of this rule"] == "not timed"
    assert browser.bad_news() == []


def test_without_token_texts_the_layers_stand_below_the_text(browser: Browser, tmp_path: Path) -> None:
    report.write(load(write(tmp_path, change=without_pieces)), tmp_path / "index.html", [])
    browser.open(tmp_path / "index.html", 390)
    browser.choose("rule", 0)
    browser.choose("example", 3)
    assert browser.text("early").startswith(browser.text("full"))
    assert browser.js("document.querySelector('#early .box').textContent") == "8"
    assert browser.violations() == []


def test_a_page_of_many_groups_is_folded(browser: Browser, tmp_path: Path) -> None:
    """Each says what it promises, and the rest once it is opened; so do the lines of what is missing."""
    for tau in range(4):
        write(tmp_path / "runs", run_id=f"tau{tau}", config={"threshold": {"tau": tau}})
    missing = [f"no picture {number}" for number in range(20)]
    report.write(load(tmp_path / "runs", quiet=True), tmp_path / "index.html", missing)
    browser.events.clear()
    browser.open(tmp_path / "index.html", 390)
    inner = ".slider, .tolerance, .chart"
    seen = f"[...document.querySelectorAll('{inner}')].filter((part) => part.checkVisibility()).length"
    assert browser.js("[...document.querySelectorAll('.verdict')].every((line) => line.checkVisibility())")
    assert browser.js(seen) == 0
    assert "no picture 1" not in browser.js("document.body.innerText")
    assert browser.js("document.documentElement.scrollHeight") < 5000
    assert browser.violations() == []  # with everything opened
    assert browser.js(seen) == browser.js(f"document.querySelectorAll('{inner}').length") > 0
    assert "no picture 1" in browser.js("document.body.innerText")
    assert browser.js("document.documentElement.scrollWidth") <= 390
    assert browser.bad_news() == []


@pytest.mark.parametrize("most_bytes", [100, 20_000])
def test_a_page_that_cannot_hold_every_example_says_how_many(
    browser: Browser, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr("analysis.report.page.MAX_BYTES", most_bytes)
    report.write(records, tmp_path / "index.html", [])
    browser.events.clear()
    browser.open(tmp_path / "index.html")
    held = browser.js("document.getElementById('example').options.length")
    assert held == 0 if most_bytes == 100 else 0 < held < 24
    assert browser.text("shown").startswith(f"{held} of 24 examples are in this page")
    assert browser.js("document.getElementById('drawn').checkVisibility()") == (held > 0)
    assert browser.bad_news() == []


def test_without_javascript_the_promises_stand_and_the_explorer_says_why_not(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        seen = browser.js("document.body.innerText")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "a threshold was certified" in seen
    assert "needs JavaScript" in seen
    assert "Exit layer" not in seen
