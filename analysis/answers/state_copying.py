"""What copying a state into skipped layers costs, under oracle exits (section 3.3.1 of the paper)."""

import pandas as pd

from analysis import paper
from analysis.answers import paired
from analysis.answers.answer import Answer, Estimate, Question, too_few
from analysis.load import Records
from analysis.tables.formats import rounded, with_interval
from calm_bench.errors import InputError

COPIED = {
    "exit_state": "copying the exit layer's state",
    "first_state": "copying the first layer's state",
    "projected_kv": "copying its keys and values",
}
WAYS = ("true_state", "exit_state", "first_state", "projected_kv")


def answer(part: Records) -> Answer:
    """Each way of filling skipped layers beside the full model and beside the paper's number.

    Raises:
        InputError: no oracle exits.
    """
    ways = part.setting("state_copying")
    oracle = part.frontier[part.frontier["measure"] == "oracle"]
    if not len(oracle):
        raise InputError("no oracle exits to answer from (baselines=[oracle])")
    points = {str(ways[rule["run_id"]]): rule for _, rule in oracle.iterrows()}
    full = part.frontier[part.frontier["measure"] == "full"].set_index("run_id", drop=False)
    scores = paired.scores(part, pd.concat([oracle, full]))
    lost = {
        way: scores[paired.key(full.loc[rule["run_id"]])] - scores[paired.key(rule)] for way, rule in points.items()
    }
    whole = float(scores[paired.key(full.iloc[0])].mean())
    published = paper.published("state_copying").set_index("state_copying")
    rouge = {str(way): float(value) for way, value in published["rouge_l"].items()}
    theirs = {way: 100 * (1 - value / rouge["full"]) for way, value in rouge.items()}
    rows = [
        ["skipped layers get", "layers", part.quality, f"lost {part.similarity}", "of it", "paper: of it", "layers"]
    ]
    for way in (way for way in WAYS if way in points):
        share = _share(lost[way], whole)
        rows.append(
            [
                way,
                f"{points[way]['mean_exit_layer']:.2f}",
                with_interval(points[way].to_dict(), "score", 1),
                paired.mean(lost[way]).shown(),
                f"{share.value:.1f}%",
                f"{theirs[way]:.1f}%" if way in theirs else "",
                rounded(published["mean_layers"].get(way)),
            ]
        )
    n = int(oracle["n"].max())
    sentences = [
        f"{COPIED[way]} costs {share.shown('.1f')}% of the full model's {whole:.1f} {part.similarity}: "
        f"{share.beside(theirs[way], n)}"
        for way in COPIED
        if way in points
        for share in [_share(lost[way], whole)]
    ]
    if "true_state" in points:
        sentences.append("running the skipped layers costs nothing, by construction: the text is the full model's")
    if {"exit_state", "projected_kv"} <= points.keys():
        more = paired.mean(lost["projected_kv"] - lost["exit_state"])
        sentences.append(f"copying keys and values costs {more.shown()} points more than the state: {more.verdict(n)}")
    if {"exit_state", "first_state"} <= points.keys():
        more = paired.mean(lost["first_state"] - lost["exit_state"])
        sure = "surely more" if more.low > 0 else "surely less" if more.high < 0 else f"{too_few(n)} them apart"
        paid = rouge["first_state"] - rouge["exit_state"]
        sentences.append(
            f"the first layer's state costs {more.shown()} points more than the exit layer's: {sure}; the paper: "
            f"{paid:.2f} less"
        )
    note = (
        f"oracle exits; lost: {part.similarity} to the references against the full model's text of the same example "
        f"(95% interval of the mean); paper: ROUGE-L on CNN/DM, full model {rouge['full']}, 8 layers"
    )
    return Answer(tuple(sentences), rows, note)


def _share(lost: "pd.Series[float]", whole: float) -> Estimate:
    """In percent of the full model's similarity."""
    return paired.mean(100 * lost / whole)


QUESTION = Question(answer, ("state_copying",))
