"""Whether training on copied states makes them harmless, and at what price (not in the paper; section 3.4)."""

import pandas as pd

from analysis.answers import paired
from analysis.answers.answer import Answer, Question, too_few
from analysis.load import Records
from analysis.tables.formats import with_interval
from calm_bench.errors import InputError

KEY = "training.exit_simulation"


def answer(part: Records) -> Answer:
    """What copying costs a model, by the share of positions that left early while it was trained.

    Raises:
        InputError: no oracle exits with copied states.
    """
    shares = pd.to_numeric(part.setting(KEY))
    copied = part.frontier["run_id"].map(part.setting("state_copying")) == "exit_state"
    points = part.frontier[copied & part.frontier["measure"].isin(("full", "oracle"))]
    points = points.assign(share=points["run_id"].map(shares)).sort_values("share")
    if not (points["measure"] == "oracle").any():
        raise InputError(
            "no oracle exits with copied states here (baselines=[oracle], state_copying=exit_state); with true states "
            "the oracle's text is the full model's"
        )
    scores = paired.scores(part, points)
    full = {rule["share"]: rule for _, rule in points[points["measure"] == "full"].iterrows()}
    oracle = {rule["share"]: rule for _, rule in points[points["measure"] == "oracle"].iterrows()}
    whole = {share: scores[paired.key(rule)] for share, rule in full.items()}
    lost = {share: whole[share] - scores[paired.key(rule)] for share, rule in oracle.items()}
    first, n = min(lost), int(points["n"].max())
    rows = [["share that left", f"full {part.quality}", f"oracle {part.quality}", "lost to copying", "layers", "price"]]
    for share, rule in oracle.items():
        rows.append(
            [
                f"{share:g}",
                with_interval(full[share].to_dict(), "score", 1),
                with_interval(rule.to_dict(), "score", 1),
                paired.mean(lost[share]).shown(),
                f"{rule['mean_exit_layer']:.2f}",
                "" if share == first else paired.mean(whole[first] - whole[share]).shown(),
            ]
        )
    costs = f"copying costs {paired.mean(lost[first]).shown()} points of {part.similarity}"
    sentences = [
        f"trained on a share of {first:g}, {costs}; the paper trains on none (0), because copying hardly hurts"
    ]
    if len(lost) > 1:
        best = min(lost, key=lambda share: lost[share].mean())
        sentences.append(_said(best, first, lost, whole, n))
    note = (
        f"oracle exits; lost and price: {part.similarity} to the references, 0 to 100, of the same example (95% "
        f"interval): full model against its oracle, and against the full model trained on {first:g}; one training each"
    )
    return Answer(tuple(sentences), rows, note)


def _said(
    best: float, first: float, lost: dict[float, "pd.Series[float]"], whole: dict[float, "pd.Series[float]"], n: int
) -> str:
    if best == first:
        return "no larger share costs less"
    spared, price = paired.mean(lost[first] - lost[best]), paired.mean(whole[first] - whole[best])
    sure = "surely less" if spared.low > 0 else too_few(n)
    paid = "a price" if price.low > 0 else "a gain" if price.high < 0 else f"no price that n = {n} can show"
    cost = f"the full model's own texts lose {price.shown()}: {paid}"
    return f"a share of {best:g} spares {spared.shown()} of that: {sure}; {cost}"


QUESTION = Question(answer, (KEY, "state_copying"))
