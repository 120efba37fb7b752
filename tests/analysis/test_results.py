"""A page of results holds what its records say, and the published pages hold what the published records say."""

from pathlib import Path

import pytest

from analysis import load, results
from analysis.load import Records
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
        assert not run.read("generations")["prediction"].str.len().any()
        assert not run.read("examples")["source"].str.len().any()
        assert not run.read("examples")["references"].map(len).any()
    assert sum(file.stat().st_size for file in REFERENCE.rglob("*")) < 20e6
