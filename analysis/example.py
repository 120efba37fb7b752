"""One text under two or three rules, chosen from the records by a stated rule: what the coloured text shows."""

import pandas as pd

from analysis.load import Records, of_rules
from analysis.style import ordered
from calm_bench.errors import InputError

KEYS = ["run_id", "rule"]


def example(part: Records, *, most: int = 3) -> pd.DataFrame:
    """The tokens of one text of a group under each of at most `most` rules, the strictest first.

    The rules are thresholds of one measure, the first in the paper's order that has two: those certified on all
    examples, or where no measure has two, the strictest and the loosest of the first measure's grid. The text is the
    longest of those whose D is not the same under all of them; of equally long ones, the first by name.

    Returns rows of tokens.parquet with the columns source, reference, distance (D, the textual loss), risk (ΔR, score
    of the full model's text - score), mean_exit_layer and speedup (of the rule, over all timed texts; NaN where it was
    not timed).

    Raises:
        InputError: the records hold no texts, no tokens, or no measure with two thresholds.
    """
    chosen = _rules(part, most)
    texts = part.generations(chosen)
    if not len(texts):
        raise InputError("no texts in generations.parquet")
    full = part.generations(part.rules[part.rules["kind"] == "full"]).set_index("example")
    losses = texts.groupby(["example", "example_id"], as_index=False)["textual_loss"].agg(["min", "max"])
    losses = losses.assign(length=losses["example"].map(full["n_tokens"]))
    differs = losses["min"] < losses["max"]
    candidates = losses[differs] if differs.any() else losses
    longest = candidates[candidates["length"] == candidates["length"].max()]
    number = int(longest.sort_values("example_id")["example"].iloc[0])
    about = part.examples[part.examples["example"] == number].iloc[0]
    tokens = part.tokens(chosen, [number])
    if not len(tokens) or tokens["piece"].isna().any():
        raise InputError("no tokens with their text in tokens.parquet")
    texts = texts[texts["example"] == number].assign(
        source=about["source"],
        reference=about["references"][0],
        distance=lambda rows: rows["textual_loss"],
        risk=lambda rows: float(full["score"][number]) - rows["score"],
    )
    texts = texts.merge(part.frontier[[*KEYS, "speedup"]], how="left", on=KEYS)
    columns = ["source", "reference", "distance", "risk", "mean_exit_layer", "speedup"]
    rows = tokens.merge(texts[[*KEYS, *columns]], on=KEYS)
    return rows.sort_values(["threshold", "position"], ascending=[False, True]).reset_index(drop=True)


def _rules(part: Records, most: int) -> pd.DataFrame:
    certificates = part.certificates
    whole = certificates[certificates["trial"].isna() & certificates["threshold"].notna()]
    certified = of_rules(part.rules, whole)
    for frame in (certified, part.rules[part.rules["kind"] == "adaptive"]):
        for measure in ordered(frame["measure"]):
            rows = frame[frame["measure"] == measure].sort_values("threshold", ascending=False)
            rows = rows.drop_duplicates("threshold")
            if len(rows) >= 2:
                return rows if frame is certified and len(rows) <= most else rows.iloc[[0, -1]]
    raise InputError("no measure with two thresholds in the rules")
