"""The report: self-contained, escaped, small, and true to the records."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import escape

from analysis import Records, answers, load, report, rules, style
from analysis.catalogue import CATALOGUE
from analysis.outputs import Made
from analysis.report import explorer, gallery
from analysis.tables.formats import Table


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
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


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
    assert "▁<script>alert('x')</script>" in json.loads(data)["groups"][0]["pieces"]


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
    chosen = rules.shown(records, explorer.MAX_RULES)
    for place in (0, 7, 19):
        written = records.tokens(chosen.iloc[[place]])
        for example in data["examples"][:3]:
            tokens = written[written["example_id"] == example["id"]]
            pieces, layers, sure = unpack(data, example, place)
            assert pieces == tokens["piece"].tolist()
            assert layers == tokens["exit_layer"].tolist()
            expected = tokens["confidence"].round(2).astype(object).where(tokens["confidence"].notna(), None).tolist()
            assert sure == pytest.approx(expected, abs=1e-6)


def without_pieces(frames: dict[str, Any]) -> dict[str, Any]:
    return {**frames, "tokens": frames["tokens"].assign(piece=None)}


def test_records_without_token_texts_show_the_prediction(write_run) -> None:
    records = load(write_run(change=without_pieces))
    data = explorer.payload(records, records.groups[0])
    assert data["pieces"] is None
    full = records.generations(records.rules[:1]).set_index("example_id")["prediction"]
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

    pairs = style.layer_colours(layers)
    assert len({back for back, _ in pairs}) == layers
    for back, front in pairs:
        low, high = sorted((luminance(back), luminance(front)))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_run_without_certificates_promises_nothing(write_run, tmp_path: Path) -> None:
    report.write(load(write_run(drop=("certificates",))), tmp_path / "index.html", [])
    assert "nothing is promised" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_question_is_answered_first_and_in_the_pages_own_words(write_run, tmp_path: Path) -> None:
    config = {"answer": "oracle", "question": "How few layers would do, for <all>?"}
    records = load(write_run(n=40, config=config))
    report.write(records, tmp_path / "index.html", [])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    (found,) = answers.answered(records)
    assert found.answer is not None
    assert "How few layers would do, for &lt;all&gt;?" in page
    assert "<all>" not in page
    assert all(str(escape(sentence)) in page for sentence in found.answer.sentences)
    assert page.index("How few layers would do") < page.index('id="group-1"')


def test_a_question_asked_twice_is_linked_with_whose_it_is(write_run, tmp_path: Path) -> None:
    config = {"answer": "oracle", "question": "How few?"}
    for task in ("squad", "cnndm"):
        folder = write_run(n=20, run_id=task, task=task, config={**config, "task": {"name": task}})
    report.write(load(folder.parent, quiet=True), tmp_path / "index.html", [])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for place, task in enumerate(("cnndm", "squad"), 1):
        assert f'<a href="#answer-{place}">How few?</a> <span class="about">demo-{task}</span>' in page


def test_a_table_stands_in_its_section_with_its_note(tmp_path: Path) -> None:
    shown = pd.DataFrame({"task": ["a", "b"], "layers": ["2.70", ""]})
    markdown = f"{Table(shown, shown, '').markdown()}\n\nWhat it means.\n\nMade by:\n\n```\n```\n"
    assert gallery.tabled(markdown) == ((("task", "layers"), ("a", "2.70"), ("b", "")), "What it means.")
    (tmp_path / "data.md").write_text(markdown)
    made = [Made("data", "Lengths", "", ("data.csv", "data.md"), (), "data")]
    ((question, (entry,)),) = gallery.sections(made, tmp_path)
    assert question == "Where do tokens leave?"
    assert entry.opened
    assert len(entry.rows) == 3


def test_every_output_answers_a_question() -> None:
    asked = {stem for stems in gallery.QUESTIONS.values() for stem in stems}
    assert {output.stem for output in CATALOGUE} <= asked
