"""Training pairs are tokenised as they are read, in whatever process reads them."""

from pathlib import Path

import pandas as pd
import pytest
from torch.utils.data import DataLoader

from calm_bench.models import load
from calm_bench.models.pairs import TokenizedPairs


@pytest.mark.parametrize("workers", [0, 2])
def test_pairs_are_the_texts_cut_to_length(workers: int, tiny_checkpoint: Path) -> None:
    datasets = pytest.importorskip("datasets")
    model = load(str(tiny_checkpoint))
    texts = pd.DataFrame({"source": ["where is it", "a b c d e f g", "no"], "target": ["x", "où est la gare", ""]})
    pairs = TokenizedPairs(model, datasets.Dataset.from_pandas(texts), 6, 4)
    loader = DataLoader(pairs, 2, collate_fn=list, num_workers=workers)
    read = [pair for batch in loader for pair in batch]
    assert len(pairs) == len(read) == 3
    assert read[1] == pairs[1]
    for pair, (_, row) in zip(read, texts.iterrows(), strict=True):
        assert [pair["input_ids"]] == model.tokenize([row["source"]], 6)
        assert [pair["labels"]] == model.tokenize([row["target"]], 4)
    assert max(len(pair["labels"]) for pair in read) == 4
