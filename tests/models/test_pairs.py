"""Training pairs are tokenised once, kept in files, and read in an order that pads little."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calm_bench.models import load
from calm_bench.models.pairs import SORTED_TOGETHER, ByLength, Pair, TokenizedPairs

TEXTS = {"source": ["where is it", "a b c d e f g", "no"], "target": ["x", "où est la gare", ""]}
LENGTHS = {"source": 6, "target": 4}


def test_pairs_are_the_texts_cut_to_length_and_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = load(str(tiny_checkpoint))
    batches = [{side: texts[:2] for side, texts in TEXTS.items()}, {side: texts[2:] for side, texts in TEXTS.items()}]
    pairs = TokenizedPairs.kept(tmp_path / "pairs", model, batches, LENGTHS)
    read = [pairs[index] for index in range(len(pairs))]
    assert [pair["input_ids"] for pair in read] == model.tokenize(TEXTS["source"], 6)
    assert [pair["labels"] for pair in read] == model.tokenize(TEXTS["target"], 4)
    assert max(len(pair["labels"]) for pair in read) == 4
    again = TokenizedPairs.kept(tmp_path / "pairs", model, iter(()), LENGTHS)  # nothing is tokenised
    assert [again[index] for index in range(len(again))] == read


def test_a_folder_that_was_being_filled_is_filled_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = load(str(tiny_checkpoint))

    def killed() -> Any:
        yield TEXTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenizedPairs.kept(tmp_path / "pairs", model, killed(), LENGTHS)
    assert len(TokenizedPairs.kept(tmp_path / "pairs", model, [TEXTS], LENGTHS)) == 3


def made_up(count: int) -> list[Pair]:
    lengths = np.random.default_rng(0).integers(1, 60, (count, 2)).tolist()
    return [{"input_ids": [5] * source, "labels": [6] * target} for source, target in lengths]


def test_a_step_s_pairs_are_about_equally_long() -> None:
    pairs = made_up(1000)
    order = list(ByLength(pairs, 8, seed=0))
    assert sorted(order) == list(range(1000))
    length = np.array([len(pair["input_ids"]) + len(pair["labels"]) for pair in pairs])
    steps = [length[order[start : start + 8]] for start in range(0, 1000, 8)]
    assert np.mean([np.ptp(step) for step in steps]) < 4 < np.ptp(length) / 10
    first = [step[0] for step in steps[:SORTED_TOGETHER]]
    assert first not in (sorted(first), sorted(first, reverse=True))  # short and long steps take turns


def test_each_epoch_has_an_order_of_its_own_and_the_last_step_what_is_left() -> None:
    sampler = ByLength(made_up(43), 4, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert len(sampler) == len(set(orders[1])) == 43
    assert list(ByLength(made_up(43), 4, seed=2)) != list(ByLength(made_up(43), 4, seed=1))
