"""Span corruption: a source and its target are the text, taken apart."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from calm_bench.tasks.span_corruption import corrupt
from tests import cli

from .conftest import Build, Folder

SENTINEL = re.compile(r"<extra_id_(\d+)>")


def put_back(source: str, target: str) -> list[str]:
    """The words of the text: each sentinel of the source is what follows it in the target."""
    spans = dict(zip(SENTINEL.findall(target), SENTINEL.split(target)[2::2], strict=True))
    return SENTINEL.sub(lambda found: spans[found[1]], source).split()


@given(st.integers(2, 400), st.floats(0.01, 0.99), st.floats(1, 10), st.integers(0, 2**32))
def test_the_spans_put_back_are_the_text(count: int, rate: float, mean_span: float, seed: int) -> None:
    words = [f"w{number}" for number in range(count)]
    source, target = corrupt(words, rate, mean_span, np.random.default_rng(seed))
    assert put_back(source, target) == words
    numbers = list(map(int, SENTINEL.findall(target)))
    assert numbers == [*map(int, SENTINEL.findall(source)), numbers[-1]] == list(range(len(numbers)))
    cut = len(target.split()) - len(numbers)
    assert cut == min(count - 1, max(1, round(rate * count)))
    assert not source.startswith("<")
    assert "> <" not in source
    assert "> <" not in target  # no span is empty, and none lies beside another


def test_a_text_of_no_words_or_one_stays_whole() -> None:
    for words in ([], ["alone"]):
        assert corrupt(words, 0.15, 3.0, np.random.default_rng(0)) == (" ".join(words), "<extra_id_0>")


def test_a_row_is_cut_alike_whenever_it_is_read_and_a_long_one_gives_a_window(build: Build, folder: Folder) -> None:
    text = " ".join(f"w{number}" for number in range(1000))
    path = folder(train=[{"text": text}, {"text": text}, {"text": "w1 w2 w3"}])
    first, second = (build("span_corruption", path=path).examples("train") for _ in range(2))
    assert first == second
    assert first[0].source != first[1].source  # another row, another draw
    for example in first:
        words = put_back(example.source, example.target)
        assert " ".join(words) in text
        assert len(words) in (250, 3)


def test_texts_to_pre_train_on_stand_in_no_other_split_and_twice(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(310)]
    for split, rows in (("train", [*texts, texts[0]]), ("validation", texts[1:2]), ("test", texts[2:4])):
        pd.DataFrame({"context": rows}).to_parquet(tmp_path / f"{split}.parquet")
    script = cli.ROOT / "examples" / "pretraining_texts.py"
    words = [sys.executable, str(script), f"{tmp_path}:context", "--out", str(tmp_path / "texts")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'texts'}: 7 texts twice, 300 held out\n"
    train, held_out = (
        pd.read_parquet(tmp_path / "texts" / f"{split}.parquet")["text"] for split in ("train", "validation")
    )
    assert set(train) | set(held_out) == set(texts) - set(texts[1:4])
    assert not set(train) & set(held_out)
    assert train.value_counts().eq(2).all()
