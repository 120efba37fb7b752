"""What a certificate says, in one plain sentence that a reader can hold the suite to."""

from typing import Literal

from calm_bench.calibration.methods import Guarantee

Objective = Literal["textual", "risk"]
OBJECTIVES: tuple[Objective, ...] = ("textual", "risk")
Unit = Literal["example", "cluster"]
UNITS: tuple[Unit, ...] = ("example", "cluster")
STATIC = "static"
"""The baseline in a measure's place: every token leaves at one layer, and thresholds are these layers."""

_BOUNDED = {
    "textual": "the mean distance between the early-exit text and the full model's text on {where}",
    "risk": "the mean score that early exit loses to the full model against the references on {where}",
}
# Exchangeable is enough for an expectation; a promise with a probability needs independent draws as well.
_ASSUMPTION = "provided that these {units} and later ones are exchangeable{how} from the same source"


def setting(measure: str, threshold: float) -> str:
    """How tokens leave, in words: by a measure at a threshold, or all at one layer."""
    if measure == STATIC:
        return f"every token leaves at layer {threshold:g}"
    return f"exiting by the {measure} measure at threshold {threshold:g}"


def promise(
    guarantee: Guarantee,
    *,
    objective: Objective,
    delta: float,
    epsilon: float,
    measure: str,
    n: int,
    threshold: float | None,
    unit: Unit = "example",
    together: int = 1,
) -> str:
    """The promise of a certificate, as one sentence; `threshold` None means that the full model is used.

    `n` counts calibration units; a cluster's loss is its mean. `together`: how many promises share `epsilon`.
    """
    units = f"{unit}s"
    if threshold is None:
        rule = "layer of the static rule" if measure == STATIC else f"threshold of the {measure} measure"
        sure = f" and epsilon = {epsilon:g}{_shared(together)}" if guarantee == "probability" else ""
        return (
            f"No {rule} met {objective} consistency with delta = {delta:g}{sure} on n = {n} calibration {units}, so "
            "the full model is used, every layer for every token, and its text is by definition consistent with "
            "itself, whatever examples come."
        )
    where = f"{'these' if guarantee == 'none' else 'later'} {units}"
    if unit == "cluster":
        where += ", each counting by the mean of its examples,"
    claim = f"{_BOUNDED[objective].format(where=where)} is at most delta = {delta:g}"
    chosen = f"{setting(measure, threshold)}, which the calibration {units} chose"
    if guarantee == "probability":
        return (
            f"With probability at least {1 - epsilon:g} (epsilon = {epsilon:g}{_shared(together)}) over the draw of "
            f"n = {n} calibration {units}, {claim} when {chosen} ({objective} consistency), "
            f"{_ASSUMPTION.format(units=units, how=', independent draws')}."
        )
    if guarantee == "expectation":
        return (
            f"On average over draws of n = {n} calibration {units}, {claim} when {chosen} ({objective} consistency), "
            f"{_ASSUMPTION.format(units=units, how=' draws')}, while a single draw may miss delta."
        )
    return (
        f"Nothing is promised about later {units}, exchangeable or not: with n = {n} calibration {units}, {claim} "
        f"when {chosen} ({objective} consistency), without correction for chance."
    )


def _shared(together: int) -> str:
    return f" for all {together} promises at once" if together > 1 else ""
