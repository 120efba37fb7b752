"""Links to a text under a rule: from a promise, from a colleague, and to what the page does not hold.

Skipped where Chromium is not installed.
"""

from pathlib import Path
from urllib.parse import quote

import pytest

from analysis import Records, load, report
from tests.analysis.report.browser import Browser, needs_chromium

pytestmark = needs_chromium


def test_a_promise_leads_to_its_texts(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("{const d = document.querySelector('.tolerance a').closest('details'); d.open = true}")
    rule = browser.js("document.querySelector('.tolerance a').textContent").removeprefix("See the texts of ")
    browser.js("document.querySelector('.tolerance a').click()")
    while not browser.js("document.activeElement.id"):  # the page hears of its new address a moment later
        pass
    assert browser.text("early-title").startswith(f"Early exit: {rule} (certified: ")
    assert browser.js("Math.abs(document.getElementById('texts').getBoundingClientRect().top) < 50")


@pytest.mark.parametrize(
    "link", ["#text/", "#text/%E0%A4%A", "#text/elsewhere/full/e0001", "#text/{}/softmax@7", "#text/{}/full/x"]
)
def test_a_link_to_what_is_not_here_is_said(browser: Browser, page: Path, records: Records, link: str) -> None:
    browser.events.clear()
    browser.open(page, link=link.format(quote(records.groups[0])))
    assert "does not hold" in browser.text("lost")
    assert browser.js("document.querySelectorAll('#early [role=option]').length") > 1
    browser.choose("example", 2)
    assert browser.text("lost") == ""
    assert browser.bad_news() == []


def test_a_link_reaches_every_experiment(browser: Browser, write_run, tmp_path: Path) -> None:
    runs = [write_run(run_id=name, name=name, n=4) for name in ("one", "two")]
    records = load(runs)
    report.write(records, tmp_path / "index.html", [])
    browser.open(tmp_path / "index.html", link=f"#text/{quote(records.groups[1])}/full/e0002")
    assert browser.js("document.getElementById('group').value") == "1"
    assert browser.text("early-title") == "Early exit: full model"
    assert browser.js("document.getElementById('example').value") == "2"
    assert browser.js("document.documentElement.scrollWidth") <= 1280
    assert browser.violations() == []
