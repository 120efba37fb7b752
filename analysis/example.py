"""One text under two or three rules, chosen from the records by a stated rule: what the coloured text shows."""

import pandas as pd

from analysis import rules
from analysis.load import Records
from analysis.style import ordered
from calm_bench.errors import InputError

KEYS = ["example_id", "measure", "threshold"]


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
    if not len(part.tokens) or part.tokens["piece"].isna().any():
        raise InputError("no tokens with their text in tokens.parquet")
    measure, thresholds = _rules(part, most)
    texts = part.generations[
        (part.generations["measure"] == measure) & part.generations["threshold"].isin(thresholds)
    ].drop_duplicates(KEYS)
    full = part.generations[part.generations["measure"] == "full"].drop_duplicates("example_id")
    full = full.set_index("example_id")
    losses = texts.groupby("example_id")["textual_loss"].agg(["min", "max"])
    length = full["n_tokens"].reindex(losses.index).fillna(0)
    differs = losses["min"] < losses["max"]
    candidates = length[differs] if differs.any() else length
    chosen = min(candidates[candidates == candidates.max()].index)
    texts = texts[texts["example_id"] == chosen].set_index(KEYS)
    about = pd.DataFrame(
        {
            "source": texts["source"],
            "reference": texts["reference"].str[0],
            "distance": texts["textual_loss"],
            "risk": full.loc[chosen, "score"] - texts["score"],
            "mean_exit_layer": texts["mean_exit_layer"],
        }
    ).reset_index()
    speed = part.frontier[["measure", "threshold", "speedup"]].drop_duplicates(["measure", "threshold"])
    about = about.merge(speed, how="left", on=["measure", "threshold"])
    rows = part.tokens.merge(about, on=KEYS)
    return rows.sort_values(["threshold", "position"], ascending=[False, True]).reset_index(drop=True)


def _rules(part: Records, most: int) -> tuple[str, list[float]]:
    whole = part.certificates[part.certificates["trial"].isna() & part.certificates["threshold"].notna()]
    grid = part.frontier[~part.frontier["measure"].isin(rules.GRIDLESS)]
    for frame in (whole, grid):
        for measure in ordered(frame["measure"]):
            thresholds = sorted(frame.loc[frame["measure"] == measure, "threshold"].unique(), reverse=True)
            if len(thresholds) >= 2:
                ends = [thresholds[0], thresholds[-1]]
                return measure, thresholds if frame is whole and len(thresholds) <= most else ends
    raise InputError("no measure with two thresholds in frontier.parquet")
