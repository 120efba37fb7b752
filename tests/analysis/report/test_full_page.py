"""A full page: 500 long examples under 20 rules stay under 15 MB, and what is drawn does not grow with their number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import Records, report, rules
from analysis.report.explorer import MAX_RULES
from tests.analysis.report.browser import Browser, needs_chromium

EXAMPLES, TOKENS = 500, 80  # as CNN/DM: articles of some 4,000 letters, summaries of some 80 tokens
LIMIT = 15_000_000
pytestmark = pytest.mark.slow


def with_long_texts(records: Records, examples: int) -> Records:
    """The records with `examples` articles in place of their texts, under the rules that the page shows."""
    rng = np.random.default_rng(0)
    letters = np.array(list("eeeettttaaaooiinnsshhrrddlucmfwygpbvkxjqz"))
    pieces = np.array(
        [("▁" if rng.random() < 0.7 else "") + "".join(rng.choice(letters, k)) for k in rng.integers(1, 9, 8000)]
    )
    drawn = rules.shown(records.certificates, records.frontier, MAX_RULES)
    about = pd.DataFrame(drawn, columns=["measure", "threshold"])
    about["layer"] = rng.integers(1, 8, len(about))
    ids = pd.DataFrame({"example_id": [f"article-{place:05d}" for place in range(examples)]})
    generations = ids.merge(about, how="cross")

    def text(words: int) -> str:
        chosen = pieces[(rng.zipf(1.3, words) - 1) % len(pieces)]
        return "".join(chosen).replace("▁", " ").strip()

    ids["source"], ids["reference"] = [text(900) for _ in ids.index], [[text(70)] for _ in ids.index]
    generations = generations.merge(ids, on="example_id")
    generations["score"], generations["textual_loss"] = rng.random((2, len(generations)))
    generations["prediction"] = ""
    tokens = generations.loc[generations.index.repeat(TOKENS), ["example_id", "measure", "threshold"]]
    tokens["position"] = np.tile(np.arange(TOKENS), len(generations))
    tokens["piece"] = pieces[(rng.zipf(1.3, len(tokens)) - 1) % len(pieces)]
    tokens["exit_layer"] = rng.integers(1, 9, len(tokens))
    tokens["confidence"] = rng.random(len(tokens))
    whose = dict(records.runs.iloc[0][["run_id", "group"]])
    return replace(records, generations=generations.assign(**whose), tokens=tokens.assign(**whose))


@pytest.fixture(scope="module")
def full(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    report.write(with_long_texts(records, EXAMPLES), path, [])
    return path


def test_it_is_under_15_mb_with_every_example_in_it(full: Path) -> None:
    assert LIMIT / 3 < full.stat().st_size < LIMIT  # and large enough to mean something
    assert full.read_text(encoding="utf-8").count('"id":"article-') == EXAMPLES


@needs_chromium
def test_what_is_drawn_does_not_grow_with_the_examples(
    browser: Browser, full: Path, records: Records, tmp_path: Path
) -> None:
    few = tmp_path / "few.html"
    report.write(with_long_texts(records, EXAMPLES // 10), few, [])
    counts = []
    for path, examples in ((full, EXAMPLES), (few, EXAMPLES // 10)):
        browser.events.clear()
        browser.open(path, link=f"#text/{records.groups[0]}/full/article-00003")
        assert browser.text("shown") == f"{examples} examples under {MAX_RULES} rules."
        assert browser.js("document.getElementById('example').options.length") == examples
        counts.append(browser.js("document.querySelectorAll(':not(option)').length"))
        for place in range(0, examples, examples // 10):  # nor with what a reader has looked at
            browser.choose("example", place)
            browser.choose("rule", place % MAX_RULES)
        counts.append(browser.js("document.querySelectorAll(':not(option)').length"))
        assert browser.js("document.querySelectorAll('#early [role=option]').length") == TOKENS
        assert browser.bad_news() == []
    assert len(set(counts)) == 1
