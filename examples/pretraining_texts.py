"""Texts for `+experiment=reference_pretraining`: those of training splits that stand in no other split.

    python examples/pretraining_texts.py SQUAD:context DIALOGSUM:article SCITLDR:article --out TEXTS

Each place is a folder with train.parquet and the splits that must stay unseen, and the column to read. TEXTS gets
train.parquet, with each text twice, as what is cut out of it depends on its row, and validation.parquet, 300 texts that
are held out.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

HELD_OUT = 300


def distinct(file: Path, column: str) -> list[str]:
    """The texts of a file, each once, in their order."""
    return list(dict.fromkeys(pd.read_parquet(file, columns=[column])[column]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", metavar="FOLDER:COLUMN", nargs="+")
    parser.add_argument("--out", metavar="TEXTS", type=Path, required=True)
    options = parser.parse_args()
    texts: list[str] = []
    unseen: set[str] = set()
    for place in options.places:
        folder, _, column = place.rpartition(":")
        texts += distinct(Path(folder) / "train.parquet", column)
        for split in ("validation", "test"):
            if (file := Path(folder) / f"{split}.parquet").exists():
                unseen.update(distinct(file, column))
    texts = [text for text in dict.fromkeys(texts) if text not in unseen]
    shuffled = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]
    held_out, kept = shuffled[:HELD_OUT], shuffled[HELD_OUT:]
    options.out.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", kept + kept), ("validation", held_out)):
        pd.DataFrame({"text": rows}).to_parquet(options.out / f"{split}.parquet", compression="zstd", index=False)
    print(f"{options.out}: {len(kept)} texts twice, {len(held_out)} held out")


if __name__ == "__main__":
    main()
