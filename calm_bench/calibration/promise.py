"""What a certificate says, in one plain sentence that a reader can hold the suite to."""

from typing import Literal

from calm_bench.calibration.methods import Guarantee

Objective = Literal["textual", "risk"]
OBJECTIVES: tuple[Objective, ...] = ("textual", "risk")

_BOUNDED = {
    "textual": "the mean distance between the early-exit text and the full model's text on {where}",
    "risk": "the mean score that early exit loses to the full model against the references on {where}",
}
# Exchangeable is enough for an expectation; a promise with a probability needs independent draws as well.
_ASSUMPTION = "provided that these examples and later ones are exchangeable{how} from the same source"


def promise(
    guarantee: Guarantee,
    *,
    objective: Objective,
    delta: float,
    epsilon: float,
    measure: str,
    n: int,
    threshold: float | None,
) -> str:
    """The promise of a certificate, as one sentence; `threshold` None means that the full model is used."""
    if threshold is None:
        return (
            f"No threshold of the {measure} measure met {objective} consistency with delta = {delta:g} and "
            f"epsilon = {epsilon:g} on n = {n} calibration examples, so the full model is used, every layer for every "
            "token, and its text is by definition consistent with itself, whatever examples come."
        )
    where = "these examples" if guarantee == "none" else "later examples"
    claim = f"{_BOUNDED[objective].format(where=where)} is at most delta = {delta:g}"
    setting = f"exiting by the {measure} measure at threshold {threshold:g}, which the calibration examples chose"
    if guarantee == "probability":
        return (
            f"With probability at least {1 - epsilon:g} (epsilon = {epsilon:g}) over the draw of n = {n} calibration "
            f"examples, {claim} when {setting} ({objective} consistency), "
            f"{_ASSUMPTION.format(how=', independent draws')}."
        )
    if guarantee == "expectation":
        return (
            f"On average over draws of n = {n} calibration examples, {claim} when {setting} "
            f"({objective} consistency), {_ASSUMPTION.format(how=' draws')}, while a single draw may miss delta and "
            f"epsilon = {epsilon:g} plays no part."
        )
    return (
        f"Nothing is promised about later examples, exchangeable or not: with n = {n} calibration examples, {claim} "
        f"when {setting} ({objective} consistency), without correction for chance, and epsilon = {epsilon:g} "
        "plays no part."
    )
