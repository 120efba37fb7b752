"""Headless Chromium, driven through its debugging pipe, and axe-core within it."""

import json
import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(not BINARY or not shutil.which("bash"), reason="Chromium is not installed")
BAD_NEWS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening")
KEYS = {"Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


class Browser:
    """One headless page; `events` collects what it reports."""

    def __init__(self, profile: Path) -> None:
        theirs_in, into = os.pipe()
        out_of, theirs_out = os.pipe()
        options = f"--headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir='{profile}'"
        command = f"exec '{BINARY}' {options} about:blank 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null"
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.into, self.out_of = os.fdopen(into, "wb"), os.fdopen(out_of, "rb")
        self.count, self.events = 0, list[dict[str, Any]]()
        self.session: dict[str, str] = {}
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the debugging protocol."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters, **self.session}
        self.into.write(json.dumps(message).encode() + b"\0")
        self.into.flush()
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
        """The value of an expression; a promise's value, once it is kept."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int = 1280, dark: bool = False, link: str = "") -> None:
        """Load the page anew, `link` ("#...") included, in a window of this width and colour scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.as_uri() + link)
        while self.js("document.readyState") != "complete":
            pass

    def close(self) -> None:
        """End the browser."""
        self.call("Browser.close")
        self.process.wait(timeout=20)

    def bad_news(self) -> list[dict[str, Any]]:
        """Errors, warnings, messages and dialogs since `events` was cleared."""
        return [event for event in self.events if event.get("method") in BAD_NEWS]

    def numbers(self) -> dict[str, str]:
        """What the explorer says of the text that it shows."""
        pairs = "[...document.querySelectorAll('#numbers div')].map(d => [...d.children].map(c => c.textContent))"
        return dict(self.js(pairs))

    def text(self, place: str) -> str:
        """What the element with this id shows."""
        return str(self.js(f"document.getElementById({json.dumps(place)}).textContent"))

    def choose(self, control: str, value: int) -> None:
        """Pick an entry of a <select>, as a reader does."""
        self.js(
            f"{{const e = document.getElementById({json.dumps(control)}); e.value = {value};"
            " e.dispatchEvent(new Event('change'))}"
        )

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key])

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page, everything opened: WCAG 2 A and AA and its best practices.

        A contrast that it cannot determine counts as well, but in the figures, where text stands on lines.
        """
        if not self.js("'axe' in window"):
            self.js((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
        self.js("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        found = self.js("axe.run()")
        assert found["passes"], "axe-core judged nothing"
        unsure = [rule for rule in found["incomplete"] if rule["id"] == "color-contrast"]
        return [
            f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for rule in [*found["violations"], *unsure]
            for node in rule["nodes"]
            if rule in found["violations"] or not node["html"].startswith("<text")
        ]
