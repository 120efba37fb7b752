"""A page of results holds what its records say, and the published pages hold what the published records say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load, results
from analysis.load import Records
from calm_bench import bootstrap
from calm_bench.errors import InputError

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "analysis" / "reference"
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "<!-- end -->" in page.read_text(encoding="utf-8")]
PAGE = "# Words\n\n<!-- efficiency -->\nSTALE\n<!-- end -->\n\nmore words\n"


def test_a_table_takes_the_place_of_what_stood_there(records: Records) -> None:
    page = results.filled(PAGE, records)
    assert page.startswith("# Words\n\n<!-- efficiency -->\n\n| ")
    assert page.endswith("<!-- end -->\n\nmore words\n")
    assert "STALE" not in page
    assert results.filled(page, records) == page


def test_what_is_no_table_is_named(records: Records) -> None:
    with pytest.raises(InputError, match="nothing: no such table of these records; there are .*efficiency"):
        results.filled(PAGE.replace("efficiency", "nothing"), records)
    with pytest.raises(InputError, match="a figure, no table"):
        results.filled(PAGE.replace("efficiency", f"frontier-{records.groups[0]}"), records)


@pytest.fixture(scope="module")
def reference() -> Records:
    return load(REFERENCE, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_published_tables_are_those_of_the_published_records(page: Path, reference: Records) -> None:
    text = page.read_text(encoding="utf-8")
    assert results.filled(text, reference) == text


def test_the_published_records_hold_no_texts_and_are_small(reference: Records) -> None:
    for run in reference.stored.values():
        assert not run.has("tokens")
        assert not run.record.read("generations", ["prediction"])["prediction"].str.len().any()
        examples = run.record.read("examples", ["source", "references"])
        assert not examples["source"].str.len().any()
        assert not examples["references"].map(len).any()
    assert sum(file.stat().st_size for file in REFERENCE.rglob("*")) < 20e6


BESIDE = {  # of docs/results.md: a row's first words, and the runs without and with pre-training
    "SQuAD, F1": ("reference_squad-squad", "reference_squad_pretrained-squad"),
    "SQuAD, as many steps": ("reference_squad_longer-squad", "reference_squad_pretrained-squad"),
    "SciTLDR, ROUGE-Lsum": ("reference_summaries-scitldr", "reference_summaries_pretrained-scitldr"),
    "DialogSum, ROUGE-Lsum": ("reference_summaries-dialogsum", "reference_summaries_pretrained-dialogsum"),
}


@pytest.mark.parametrize("words", BESIDE)
def test_with_and_without_pre_training_is_what_the_records_say(words: str, reference: Records) -> None:
    without, with_it = (of_full_model(reference, group) for group in BESIDE[words])
    assert set(without.index) == set(with_it.index)
    gained = 100 * (with_it - without).to_numpy()
    values = bootstrap.ratio(gained, np.ones(len(gained)), seed=0)
    (row,) = (line for line in (ROOT / "docs/results.md").read_text().splitlines() if line.startswith(f"| {words}"))
    difference, low, high = (f"{value:.1f}".replace("-", "−") for value in values)
    assert [cell.strip() for cell in row.split("|")[2:5]] == [
        f"{100 * without.mean():.1f}", f"{100 * with_it.mean():.1f}", f"{difference} ({low} to {high})",
    ]  # fmt: skip


def of_full_model(reference: Records, group: str) -> "pd.Series[float]":
    """The full model's score of each example, 0..1, by the example's id."""
    (run,) = (run for run in reference.stored.values() if run.group == group)
    rules = run.read("rules")
    texts = run.read("generations", rules=rules.loc[rules["kind"] == "full", "rule"])
    return texts.set_index("example_id")["score"]
