"""The full data sets, where a folder `shared/data` stands beside the checkout."""

import pytest

from .conftest import ROOT, Build

DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout")


@pytest.mark.parametrize(
    ("name", "path", "split", "rows", "examples"),
    [
        ("cnndm", "cnndm", "test", 500, 500),
        ("wmt15_enfr", "newstest2014_enfr", "test", 3003, 3003),
        ("wmt15_enfr", "multi30k_enfr", "validation", 1014, 1014),
        ("squad", "squad", "validation", 10570, 10570),
        ("tatoeba_enfr", "tatoeba_enfr", "test", 3010, 2113),
        ("scitldr", "scitldr_a", "test", 618, 618),
        ("scitldr", "dialogsum", "test", 500, 500),
    ],
)
def test_every_row_is_read(name: str, path: str, split: str, rows: int, examples: int, build: Build) -> None:
    task = build(name, path=str(DATA / path))
    assert len(task.rows(split)) == rows
    assert len(task.examples(split)) == examples


def test_newstest2014_has_a_test_split_only(build: Build) -> None:
    task = build("wmt15_enfr", path=str(DATA / "newstest2014_enfr"))
    assert [split for split in ("train", "validation", "test") if task.has_split(split)] == ["test"]
