"""What was promised, in words, and whether it held on texts that the calibration did not see."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.tables.certified import held_out_words
from calm_bench.calibration import METHODS, smallest_n
from calm_bench.calibration.methods import Guarantee
from calm_bench.calibration.promise import STATIC, promise

HEADLINES = {
    "textual": "Texts differ from the full model's by at most {delta:g} on average",
    "risk": "At most {delta:g} of the score is lost on average",
}
KEYS = ["objective", "delta", "epsilon", "method", "unit", "together"]
UNITS = {"example": "texts", "cluster": "clusters of texts"}
TERMS: dict[Guarantee | None, str] = {
    "probability": "ε = {epsilon:g}{shared}: with probability {sure:g} over the draw of n = {n} calibration {units}",
    "expectation": "on average over draws of n = {n} calibration {units}",
    "none": "on these n = {n} calibration {units}; nothing is promised about others",
    None: "on n = {n} calibration {units}; what the method guarantees is not known here",
}


@dataclass(frozen=True)
class Promise:
    """One certificate.

    state: "held" (the mean loss on held-out texts is at most δ); "broke" (all of its 95% interval lies above δ);
        "unclear" (it is above δ, within its noise); "untested" (no held-out texts); "full model" (no threshold passed);
        "not judged" (no guarantee that is known here).
    measure, threshold: the rule (None: the full model). facts: its layers, its speedup, and its loss on held-out texts,
        or why no threshold passed, a few words each.
    sentence: the promise in full. outcome: how it fared on held-out texts.
    states: the state in each run of the setup, this one among them.
    """

    state: str
    measure: str
    threshold: float | None
    facts: tuple[str, ...]
    sentence: str
    outcome: str
    states: tuple[str, ...]

    @property
    def over_runs(self) -> str:
        """In how many runs of the setup it held, in words; nothing where there is one run."""
        runs, whole = len(self.states), self.states.count("full model")
        if runs < 2:
            return ""
        if whole == runs:
            return f"full model in all {runs} runs"
        return f"held in {self.states.count('held')} of {runs} runs" + (f", full model in {whole}" if whole else "")

    @property
    def rule(self) -> str:
        """The measure and its threshold, in words."""
        if self.threshold is None:
            return self.measure
        return f"{self.measure}, {'layer' if self.measure == STATIC else 'λ ='} {self.threshold:g}"


@dataclass(frozen=True)
class Tolerance:
    """One objective at one δ: `headline` for anyone, `terms` for who knows them, and a promise per measure."""

    objective: str
    delta: float
    headline: str
    terms: str
    promises: tuple[Promise, ...]


def tolerances(
    certified: pd.DataFrame, layers: int, similarity: str, every: pd.DataFrame | None = None
) -> list[Tolerance]:
    """The rows of `tables.certified`, by objective, δ, ε, method, unit and how many promises share ε.

    layers: L of the model. similarity: the name of what the losses are one minus of. every: the rows of all runs of the
    setup, where these are of one of them.
    """
    states: dict[tuple[Any, ...], list[str]] = {}
    for row in (certified if every is None else every).to_dict("records"):
        threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
        states.setdefault(_key(row), []).append(_outcome(row, threshold)[0])
    by_tolerance = certified.groupby(KEYS, sort=False)
    return [_tolerance(rows.to_dict("records"), layers, similarity, states) for _, rows in by_tolerance]


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
    held, broke, unclear = (early.count(state) for state in ("held", "broke", "unclear"))
    if held == len(early):
        fared = {1: "it held", 2: "both held"}.get(held, f"all {held} held") + " on held-out texts"
    else:
        untested = len(early) - held - broke - unclear
        counts = ((held, "held"), (broke, "broke"), (unclear, "unclear"), (untested, "could not be tested"))
        fared = "on held-out texts " + ", ".join(f"{count} {what}" for count, what in counts if count)
    words = f"For {len(early)} of {len(states)} promises a threshold was certified; {fared}."
    others = len(states) - len(early)
    if others:
        words += f" For the other{f' {others}' if others > 1 else ''} none passed: the full model runs."
    return words


def over_runs(tolerances: list[Tolerance]) -> str:
    """How the certified promises of a setup fared over its runs, in a sentence; nothing where it has one run."""
    promises = [
        (one, promise)
        for one in tolerances
        for promise in one.promises
        if promise.over_runs and set(promise.states) != {"full model"}
    ]
    if not promises:
        return ""
    runs = max(len(promise.states) for _, promise in promises)
    every = [promise for _, promise in promises if set(promise.states) <= {"held", "full model"}]
    others = [
        f"{promise.measure} at {one.objective} δ = {one.delta:g} {promise.over_runs}"
        for one, promise in promises
        if promise not in every
    ]
    said = (
        f"Over {runs} runs that differ in their seeds, {len(every)} of {len(promises)} certified promises held in all"
    )
    return f"{said}; {'; '.join(others)}." if others else f"{said}."


def _key(row: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in (*KEYS, "measure"))


def _tolerance(
    rows: list[dict[Any, Any]], layers: int, similarity: str, states: dict[tuple[Any, ...], list[str]]
) -> Tolerance:
    first = rows[0]
    objective, delta, epsilon = str(first["objective"]), float(first["delta"]), float(first["epsilon"])
    shared = f" for all {first['together']} promises at once" if first["together"] > 1 else ""
    terms = TERMS[_guarantee(first)].format(
        epsilon=epsilon, shared=shared, sure=1 - epsilon, n=first["n"], units=UNITS[str(first["unit"])]
    )
    loss = f"1 − {similarity}" if objective == "textual" else f"score: {similarity}"
    return Tolerance(
        objective,
        delta,
        headline=HEADLINES.get(objective, f"{objective} loss at most {{delta:g}} on average").format(delta=delta),
        terms=f"{objective} consistency ({loss}), δ = {delta:g}, {first['method']}, {terms}.",
        promises=tuple(_promise(row, layers, tuple(states[_key(row)])) for row in rows),
    )


def _promise(row: dict[Any, Any], layers: int, states: tuple[str, ...]) -> Promise:
    threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
    state, outcome = _outcome(row, threshold)
    facts = [f"{row['layers']:.2f} of {layers} layers"] if threshold is not None else [_why(row)]
    if threshold is not None and pd.notna(row["speedup"]):
        slower = ", slower than the full model" if row["speedup"] < 1 else ""
        facts.append(f"speedup {row['speedup']:.2f}{slower}")
    if threshold is not None and row["trials"]:
        facts.append(f"held-out loss {row['test_loss']:.3f}")
    return Promise(state, str(row["measure"]), threshold, tuple(facts), _sentence(row, threshold), outcome, states)


def _why(row: dict[Any, Any]) -> str:
    """Why no threshold keeps a promise: too few texts for any, or the losses, and from which δ on they would do."""
    method = METHODS.get(str(row["method"]))
    needed = smallest_n(method, float(row["delta"]), float(row["epsilon"]) / int(row["together"])) if method else 1
    if needed is None or needed > row["n"]:
        return f"n = {row['n']} cannot certify it, whatever the losses ({needed or 'over a million'} needed)"
    if pd.isna(row["nearest_delta"]):
        return "no threshold passed, at no δ below 1"
    return f"no threshold passed; one would at δ = {row['nearest_delta']:g}"


def _guarantee(row: dict[Any, Any]) -> Guarantee | None:
    """That of the row's method; None for one from outside the package, which a record cannot vouch for."""
    method = METHODS.get(str(row["method"]))
    return method.guarantee if method else None


def _sentence(row: dict[Any, Any], threshold: float | None) -> str:
    guarantee = _guarantee(row)
    if guarantee is None:
        return f"Chosen by {row['method']} on n = {row['n']} calibration {row['unit']}s."
    return promise(
        guarantee,
        objective=row["objective"],
        delta=float(row["delta"]),
        epsilon=float(row["epsilon"]),
        measure=str(row["measure"]),
        n=int(row["n"]),
        threshold=threshold,
        unit=row["unit"],
        together=int(row["together"]),
    )


def _outcome(row: dict[Any, Any], threshold: float | None) -> tuple[str, str]:
    trials, delta = int(row["trials"]), float(row["delta"])
    if not trials:
        untested = "full model" if threshold is None else "untested"
        judged = _guarantee(row) in ("probability", "expectation")
        return untested if judged else "not judged", "Not tested: no texts were held out."
    splits = f"{int(row['broken'])} of {trials} overlapping splits above δ"
    found = f"mean loss on held-out texts {held_out_words(row)}, {splits}"
    if _guarantee(row) not in ("probability", "expectation"):
        return "not judged", f"No promise to judge: {found}."
    if threshold is None:
        return "full model", f"On parts of the texts: {found}."
    if row["test_loss"] <= delta:
        return "held", f"Held: {found}."
    if row["test_loss_low"] > delta:
        return "broke", f"Broke, for all of the interval lies above δ = {delta:g}: {found}."
    return "unclear", f"Above δ = {delta:g}, but within the noise of so few held-out texts: {found}."
