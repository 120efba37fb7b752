"""The report in a real browser: no errors, nothing of a text runs, and the keyboard reaches every token.

Chromium is driven through its debugging pipe, so no further package is needed. Skipped where it is not installed.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import Records, report

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not BINARY or not shutil.which("bash"), reason="Chromium is not installed")
KEYS = {"Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


class Browser:
    """One headless page; `events` collects what it reports."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self.into = os.pipe()
        out_of, theirs_out = os.pipe()
        options = f"--headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir='{profile}'"
        command = f"exec '{BINARY}' {options} about:blank 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null"
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.out_of = os.fdopen(out_of, "rb")
        self.count, self.events = 0, list[dict[str, Any]]()
        self.session: dict[str, str] = {}
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters, **self.session}
        os.write(self.into, json.dumps(message).encode() + b"\0")
        while True:
            letters = bytearray()
            while (letter := self.out_of.read(1)) != b"\0":
                assert letter, "the browser has gone"
                letters += letter
            answer = json.loads(letters)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def js(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int, dark: bool) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        while self.js("document.readyState") != "complete":
            pass

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.call("Browser.close")
    started.process.wait(timeout=20)


@pytest.fixture(scope="module")
def page(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    report.write(records, path, [])
    return path


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_it_opens_without_errors_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.events.clear()
    browser.open(page, width, dark)
    bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening")
    assert [event for event in browser.events if event.get("method") in bad] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert set(asked) <= {page.as_uri()}
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 23, 27)" if dark else "rgb(255, 255, 255)"
    )


def test_a_generation_with_a_script_is_text(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, dark=False)
    browser.js("{const e = document.getElementById('example'); e.value = '1'; e.dispatchEvent(new Event('change'))}")
    assert "<script>alert('x')</script>" in browser.js("document.getElementById('full').textContent")
    assert browser.js("document.querySelectorAll('main script, #early script').length") == 0


def test_the_keyboard_reaches_every_token_and_control(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, dark=False)
    browser.js("document.getElementById('rule').focus()")
    for expected in ("example", "next"):  # "previous" is off at the first example
        browser.press("Tab")
        assert browser.js("document.activeElement.id") == expected
    browser.press("Tab")
    active = "document.activeElement.getAttribute"
    assert browser.js(f"{active}('role')") == "option"
    first = browser.js(f"{active}('aria-label')")
    assert ": layer " in first
    browser.press("ArrowRight")
    assert browser.js(f"{active}('aria-label')") == browser.js("document.getElementById('token').textContent")
    browser.press("End")
    assert browser.js("document.activeElement === document.querySelector('#early [role=option]:last-child')")
    browser.press("Home")
    assert browser.js(f"{active}('aria-label')") == first
    assert browser.js("document.querySelectorAll('#early [tabindex=\"0\"]').length") == 1


def test_next_and_another_rule_redraw(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, dark=False)
    before = browser.js("document.getElementById('full').textContent")
    browser.js("document.getElementById('next').click()")
    assert browser.js("document.getElementById('example').value") == "1"
    assert browser.js("document.getElementById('full').textContent") != before
    browser.js("{const e = document.getElementById('rule'); e.value = '0'; e.dispatchEvent(new Event('change'))}")
    assert browser.js("document.getElementById('early-title').textContent") == "Early exit: full model"
    colours = "new Set([...document.querySelectorAll('#early [role=option]')].map(t => t.style.backgroundColor)).size"
    assert browser.js(colours) == 1
