"""A full page: 500 long examples under 20 rules stay under 15 MB, and what is drawn does not grow with their number."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import Records, load, report
from analysis.report.explorer import MAX_RULES
from tests.analysis.conftest import write
from tests.analysis.report.browser import Browser, needs_chromium

EXAMPLES, TOKENS = 500, 80  # as CNN/DM: articles of some 4,000 letters, summaries of some 80 tokens
LIMIT = 15_000_000
pytestmark = pytest.mark.slow


def long_texts(frames: dict[str, Any], examples: int) -> dict[str, Any]:
    """The tables with `examples` articles in place of their examples, under the first 20 rules."""
    rng = np.random.default_rng(0)
    letters = np.array(list("eeeettttaaaooiinnsshhrrddlucmfwygpbvkxjqz"))
    pieces = np.array(
        [("▁" if rng.random() < 0.7 else "") + "".join(rng.choice(letters, k)) for k in rng.integers(1, 9, 8000)]
    )

    def text(words: int) -> str:
        chosen = pieces[(rng.zipf(1.3, words) - 1) % len(pieces)]
        return "".join(chosen).replace("▁", " ").strip()

    rules = frames["rules"][:MAX_RULES]
    numbers = pd.DataFrame({"example": range(examples)})
    about = numbers.assign(
        id=[f"article-{place:05d}" for place in numbers["example"]],
        split="test",
        cluster=None,
        source=[text(900) for _ in numbers.index],
        references=[[text(70)] for _ in numbers.index],
        n_source_tokens=900,
        n_target_tokens=70,
    )
    generations = numbers.merge(rules[["rule"]], how="cross")
    tokens = generations.loc[generations.index.repeat(TOKENS)]
    tokens = tokens.assign(
        position=np.tile(np.arange(TOKENS), len(generations)),
        token_id=1,
        piece=pieces[(rng.zipf(1.3, len(tokens)) - 1) % len(pieces)],
        exit_layer=rng.integers(1, 9, len(tokens)),
        confidence=rng.random(len(tokens)),
    )
    losses = {name: rng.random(len(generations)) for name in ("score", "textual_loss", "risk_loss")}
    generations = generations.assign(
        prediction="", n_tokens=TOKENS, mean_exit_layer=4.0, flops=1.0, flops_elbayad=1.0, **losses
    )
    frontier = frames["frontier"][:MAX_RULES]
    later = {"rules": rules, "examples": about, "generations": generations, "tokens": tokens, "frontier": frontier}
    return {**frames, **later, "certificates": None, "timings": None}


def page_of(folder: Path, examples: int) -> Path:
    path = folder / "index.html"
    report.write(load(write(folder, change=lambda frames: long_texts(frames, examples)), quiet=True), path, [])
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(tmp_path_factory.mktemp("page"), EXAMPLES)


def test_it_is_under_15_mb_with_every_example_in_it(full: Path) -> None:
    assert LIMIT / 3 < full.stat().st_size < LIMIT  # and large enough to mean something
    assert full.read_text(encoding="utf-8").count('"id":"article-') == EXAMPLES


@needs_chromium
def test_what_is_drawn_does_not_grow_with_the_examples(
    browser: Browser, full: Path, records: Records, tmp_path: Path
) -> None:
    few = page_of(tmp_path, EXAMPLES // 10)
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
