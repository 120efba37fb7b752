"""The report: self-contained, escaped, small, and true to the records."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import Records, load, report, rules
from analysis.report import explorer
from analysis.report.promises import Tolerance, tolerances, verdict
from analysis.tables import certified


class Page(HTMLParser):
    """The tags of a page with their attributes, and the contents of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
            self.inside = ""


@pytest.fixture(scope="module")
def text(records: Records, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    report.write(records, path, ["no runs on <moon>"])
    return path.read_text(encoding="utf-8")


def unpack(data: dict[str, Any], example: dict[str, Any], rule: int) -> tuple[list[str], list[int], list[float | None]]:
    """A generation's token texts, exit layers and confidences, as the page's script reads them."""
    place, layers, confidences, *_ = example["rules"][rule]
    pieces = [data["pieces"][piece] for piece in example["texts"][place]]
    sure = [None if letter == "-" else (ord(letter) - 256) / 100 for letter in confidences]
    return pieces, [ord(letter) - 256 for letter in layers], sure


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not {"src", "srcset"} & attributes.keys(), tag
        for name in ("href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_only_our_script_may_run(text: str) -> None:
    page = Page(text)
    assert len(page.scripts) == 2  # the data and the program; an injected one would be a third
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", str(policy))
    assert "script-src 'unsafe-inline'" not in str(policy)


def test_texts_are_escaped(text: str) -> None:
    assert "<script>alert" not in text
    assert "<moon>" not in text
    assert "&lt;moon&gt;" in text
    data = Page(text).scripts[0]
    assert not set("<>&") & set(data)
    assert "▁<script>alert('x')</script>" in json.loads(data)[0]["pieces"]


def test_names_are_escaped_too(write_run, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    report.write(load(write_run(name=attack, model=attack, n=4)), tmp_path / "index.html", [])
    written = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert attack not in written
    assert len(Page(written).scripts) == 2


def test_the_explorer_holds_what_the_records_hold(records: Records) -> None:
    group = records.groups[0]
    data = explorer.payload(records.of(group), group)
    assert len(data["rules"]) == explorer.MAX_RULES
    assert len(data["examples"]) == data["n"] == 24
    chosen = rules.shown(records.certificates, records.frontier, explorer.MAX_RULES)
    for place in (0, 7, 19):
        measure, threshold = chosen[place]
        for example in data["examples"][:3]:
            tokens = records.tokens[
                (records.tokens["example_id"] == example["id"]) & (records.tokens["measure"] == measure)
            ]
            tokens = tokens[tokens["threshold"].isna() if threshold is None else tokens["threshold"] == threshold]
            pieces, layers, sure = unpack(data, example, place)
            assert pieces == tokens["piece"].tolist()
            assert layers == tokens["exit_layer"].tolist()
            expected = tokens["confidence"].round(2).astype(object).where(tokens["confidence"].notna(), None).tolist()
            assert sure == pytest.approx(expected, abs=1e-6)


def test_records_without_token_texts_show_the_prediction(records: Records) -> None:
    part = replace(records, tokens=records.tokens.assign(piece=None))
    data = explorer.payload(part, records.groups[0])
    assert data["pieces"] is None
    full = records.generations.query("measure == 'full'").set_index("example_id")["prediction"]
    example = data["examples"][3]
    assert example["texts"][example["rules"][0][0]] == full[example["id"]]


def test_the_page_stays_small_and_says_what_it_left_out(records: Records) -> None:
    group = records.groups[0]
    data = explorer.payload(records.of(group), group, most_bytes=20_000)
    assert 0 < len(data["examples"]) < data["n"] == 24
    assert len(json.dumps(data["examples"], ensure_ascii=False).encode()) < 25_000


@pytest.mark.parametrize("layers", [2, 8, 12, 24])
def test_token_text_reads_on_its_colour(layers: int) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = explorer.colours(layers)
    assert len({back for back, _ in pairs}) == layers
    for back, front in pairs:
        low, high = sorted((luminance(back), luminance(front)))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def judged(losses: list[float], method: str = "ltt", threshold: float | None = 0.5) -> Tolerance:
    """One certificate at δ = 0.1 and ε = 0.2, with these mean losses on the held-out texts of its trials."""
    base = {"group": "g", "objective": "textual", "delta": 0.1, "epsilon": 0.2, "measure": "state", "method": method}
    rest = {"n_calibration": 80, "threshold": threshold, "p_value": 0.01, "mean_exit_layer": 3.0}
    rows = [{"trial": None, "test_loss": None}, *({"trial": i, "test_loss": x} for i, x in enumerate(losses))]
    certificates = pd.DataFrame([base | rest | row for row in rows]).astype({"threshold": float})
    frontier = pd.DataFrame([{"group": "g", "measure": "state", "threshold": 0.5, "score": 40.0, "speedup": 2.0}])
    (tolerance,) = tolerances(certified(certificates, frontier), 8, "chrF")
    return tolerance


KEPT, OFTEN_BROKEN, BARELY_BROKEN = [0.05] * 9 + [0.2], [0.05] * 7 + [0.2] * 3, [0.09] * 7 + [0.11] * 3


@pytest.mark.parametrize(
    ("losses", "method", "threshold", "state"),
    [
        (KEPT, "ltt", 0.5, "held"),
        (OFTEN_BROKEN, "ltt", 0.5, "broke"),
        ([], "ltt", 0.5, "untested"),
        ([0.0] * 10, "ltt", None, "full model"),
        (BARELY_BROKEN, "crc", 0.5, "held"),  # it promises an average over trials, and that is 0.096
        ([0.05] * 5 + [0.2] * 5, "crc", 0.5, "broke"),
        (KEPT, "naive", 0.5, "not judged"),
        (KEPT, "from outside", 0.5, "not judged"),
    ],
)
def test_a_promise_is_judged_by_what_its_method_guarantees(
    losses: list[float], method: str, threshold: float | None, state: str
) -> None:
    (promise,) = judged(losses, method, threshold).promises
    assert promise.state == state
    assert f"{sum(loss <= 0.1 for loss in losses)} of {len(losses)} trials" in promise.outcome or not losses


def test_a_promise_is_said_for_anyone_and_in_full() -> None:
    tolerance = judged(KEPT)
    assert tolerance.headline == "Texts differ from the full model's by at most 0.1 on average"
    assert "1 − chrF" in tolerance.terms
    assert "with probability 0.8 over the draw of n = 80 calibration texts" in tolerance.terms
    (promise,) = tolerance.promises
    assert promise.facts == ("3.00 of 8 layers", "speedup 2.00", "9 of 10 trials")
    assert "0.8" in promise.sentence


def test_the_verdict_counts_every_promise() -> None:
    held, broke, none = judged(KEPT), judged(OFTEN_BROKEN), judged([0.0], threshold=None)
    assert verdict([held, held]) == "For 2 of 2 promises a threshold was certified; both held on held-out texts."
    words = verdict([held, broke, none, judged(KEPT, "naive")])
    assert words.startswith("For 2 of 3 promises a threshold was certified; on held-out texts 1 held, 1 broke.")
    assert "For the other no threshold passed" in words
    assert "For none of 1 promises" in verdict([none])
    assert "promise nothing" in verdict([judged(KEPT, "naive")])


def test_a_run_without_certificates_promises_nothing(write_run, tmp_path: Path) -> None:
    report.write(load(write_run(drop=("certificates",))), tmp_path / "index.html", [])
    assert "nothing is promised" in (tmp_path / "index.html").read_text(encoding="utf-8")
