"""Texts for `+experiment=reference_pretraining`: those of training splits that stand in no other split.

    python examples/pretraining_texts.py SQUAD:context DIALOGSUM:article SCITLDR:article --out TEXTS

Each place is a folder as `task.path` takes it, with a train split and those that must stay unseen, and the column to
read. TEXTS gets train.parquet, with each text twice, as what is cut out of it depends on its row, and
validation.parquet, 300 texts that are held out.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from calm_bench.errors import InputError
from calm_bench.tasks import files

HELD_OUT = 300


def texts_of(places: list[str]) -> list[str]:
    """Each text of the training splits once, in their order. Raises InputError."""
    texts: dict[str, None] = {}
    unseen: set[str] = set()
    for place in places:
        folder, _, column = place.rpartition(":")
        for split in {"train": None, **files.local_files(folder)}:
            read = files.load(folder, None, None, split, (column,))[column]
            if split == "train":
                texts |= dict.fromkeys(read)
            else:
                unseen.update(read)
    found = [text for text in texts if text not in unseen]
    if len(found) <= HELD_OUT:
        raise InputError(f"{len(found)} texts: must be more than the {HELD_OUT} that are held out")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", metavar="FOLDER:COLUMN", nargs="+")
    parser.add_argument("--out", metavar="TEXTS", type=Path, required=True)
    options = parser.parse_args()
    try:
        texts = texts_of(options.places)
    except InputError as error:
        parser.error(str(error))
    shuffled = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]
    held_out, kept = shuffled[:HELD_OUT], shuffled[HELD_OUT:]
    options.out.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", kept + kept), ("validation", held_out)):
        pd.DataFrame({"text": rows}).to_parquet(options.out / f"{split}.parquet", compression="zstd", index=False)
    print(f"{options.out}: {len(kept)} texts twice, {len(held_out)} held out")


if __name__ == "__main__":
    main()
