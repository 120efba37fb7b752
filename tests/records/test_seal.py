"""A sealed folder is known again, file by file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calm_bench.records import seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "parts" / "weights").write_bytes(bytes(100))
    seal.seal(tmp_path)
    return tmp_path


def test_what_was_sealed_is_whole(folder: Path) -> None:
    assert seal.fault(folder) is None
    seal.seal(folder)
    assert seal.fault(folder) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "parts/weights").write_bytes(bytes(99) + b"\1"), "parts/weights is not the file"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is not the file"),
        (lambda folder: (folder / "more").write_text(""), "more is not the file"),
        (lambda folder: (folder / seal.FILE).unlink(), "digests.json cannot be read"),
        (lambda folder: (folder / seal.FILE).write_text("{"), "digests.json cannot be read"),
        (lambda folder: (folder / seal.FILE).write_text(json.dumps([1])), "digests.json is none"),
    ],
)
def test_what_has_changed_is_named(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(folder)
    assert words in str(seal.fault(folder))
