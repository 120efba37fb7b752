"""What was promised, in words, and whether it held on texts that the calibration did not see."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from calm_bench.calibration import METHODS
from calm_bench.calibration.methods import Guarantee
from calm_bench.calibration.promise import promise

HEADLINES = {
    "textual": "Texts differ from the full model's by at most {delta:g} on average",
    "risk": "At most {delta:g} of the score is lost on average",
}
TERMS: dict[Guarantee | None, str] = {
    "probability": "with probability {sure:g} over the draw of n = {n} calibration texts",
    "expectation": "on average over draws of n = {n} calibration texts",
    "none": "on these n = {n} calibration texts; nothing is promised about others",
    None: "on n = {n} calibration texts; what the method guarantees is not known here",
}


@dataclass(frozen=True)
class Promise:
    """One certificate.

    state: "held"; "broke" (more often than ε allows, or on average where the method promises an average); "untested"
        (no held-out texts); "full model" (no threshold passed); "not judged" (no guarantee that is known here).
    measure, threshold: the rule (None: the full model). facts: its layers, its speedup, and the trials in which it
        held, a few words each.
    sentence: the promise in full. outcome: how it fared on held-out texts.
    """

    state: str
    measure: str
    threshold: float | None
    facts: tuple[str, ...]
    sentence: str
    outcome: str


@dataclass(frozen=True)
class Tolerance:
    """One objective at one δ: `headline` for anyone, `terms` for who knows them, and a promise per measure."""

    headline: str
    terms: str
    promises: tuple[Promise, ...]


def tolerances(certified: pd.DataFrame, layers: int, similarity: str) -> list[Tolerance]:
    """The rows of `tables.certified`, by objective, δ, ε and method.

    layers: L of the model. similarity: the name of what the losses are one minus of.
    """
    keys = ["objective", "delta", "epsilon", "method"]
    return [_tolerance(rows.to_dict("records"), layers, similarity) for _, rows in certified.groupby(keys, sort=False)]


def verdict(tolerances: list[Tolerance]) -> str:
    """All promises in a few sentences: for how many a threshold was certified, and how many of those held."""
    states = [promise.state for one in tolerances for promise in one.promises if promise.state != "not judged"]
    early = [state for state in states if state != "full model"]
    if not states:
        return "The methods of these runs promise nothing about other texts."
    if not early:
        return (
            f"For none of {len(states)} promises did a threshold pass: the full model runs, all layers for each token."
        )
    held, broke = early.count("held"), early.count("broke")
    if held == len(early):
        fared = {1: "it held", 2: "both held"}.get(held, f"all {held} held") + " on held-out texts"
    else:
        counts = ((held, "held"), (broke, "broke"), (len(early) - held - broke, "could not be tested"))
        fared = "on held-out texts " + ", ".join(f"{count} {what}" for count, what in counts if count)
    words = f"For {len(early)} of {len(states)} promises a threshold was certified; {fared}."
    others = len(states) - len(early)
    if others:
        words += f" For the other{f' {others}' if others > 1 else ''} none passed: the full model runs."
    return words


def _tolerance(rows: list[dict[Any, Any]], layers: int, similarity: str) -> Tolerance:
    first = rows[0]
    objective, delta, epsilon = str(first["objective"]), float(first["delta"]), float(first["epsilon"])
    method = METHODS.get(str(first["method"]))
    terms = TERMS[method.guarantee if method else None].format(sure=1 - epsilon, n=first["n"])
    loss = f"1 − {similarity}" if objective == "textual" else f"score: {similarity}"
    return Tolerance(
        headline=HEADLINES.get(objective, f"{objective} loss at most {{delta:g}} on average").format(delta=delta),
        terms=f"{objective} consistency ({loss}), δ = {delta:g}, ε = {epsilon:g}, {first['method']}: {terms}.",
        promises=tuple(_promise(row, layers) for row in rows),
    )


def _promise(row: dict[Any, Any], layers: int) -> Promise:
    threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
    trials, kept = int(row["trials"]), int(row["trials"]) - int(row["broken"] if row["trials"] else 0)
    state, outcome = _outcome(row, threshold, trials, kept)
    facts = [f"{row['layers']:.2f} of {layers} layers"] if threshold is not None else ["no threshold passed"]
    if threshold is not None and pd.notna(row["speedup"]):
        facts.append(f"speedup {row['speedup']:.2f}")
    if threshold is not None and trials:
        facts.append(f"{kept} of {trials} trials")
    return Promise(state, str(row["measure"]), threshold, tuple(facts), _sentence(row, threshold), outcome)


def _sentence(row: dict[Any, Any], threshold: float | None) -> str:
    method = METHODS.get(str(row["method"]))
    if method is None:  # from outside the package: what it guarantees is not known here
        return f"Chosen by {row['method']} on n = {row['n']} calibration examples."
    return promise(
        method.guarantee,
        objective=row["objective"],
        delta=float(row["delta"]),
        epsilon=float(row["epsilon"]),
        measure=str(row["measure"]),
        n=int(row["n"]),
        threshold=threshold,
    )


def _outcome(row: dict[Any, Any], threshold: float | None, trials: int, kept: int) -> tuple[str, str]:
    method = METHODS.get(str(row["method"]))
    guarantee = method.guarantee if method else None
    counted = f"{kept} of {trials} trials held, mean loss on held-out texts {row['test_loss']:.3f}"
    untested = "Not tested: no texts were held out."
    if guarantee not in ("probability", "expectation"):
        return "not judged", f"No promise to judge: {counted}." if trials else untested
    if threshold is None:
        return "full model", f"On parts of the texts: {counted}." if trials else untested
    if not trials:
        return "untested", untested
    delta, allowed = float(row["delta"]), float(row["epsilon"])
    if guarantee == "expectation":
        state = "held" if row["test_loss"] <= delta else "broke"
        return state, f"{state.capitalize()}, as an average over trials at most {delta:g} was promised: {counted}."
    if trials - kept <= allowed * trials:
        return "held", f"Held: {counted}."
    words = f"Broke in {trials - kept} of {trials} trials, more than the {allowed:.0%} allowed: {counted}."
    return "broke", f"{words} Few held-out texts and overlapping trials can do this by chance."
