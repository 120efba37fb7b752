"""What was promised, in words, and whether it held on texts that the calibration did not see."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from calm_bench.calibration import METHODS
from calm_bench.calibration.promise import promise


@dataclass(frozen=True)
class Promise:
    """One certificate for a reader. `state` is "held", "broke" (more often than allowed) or "untested"."""

    state: str
    short: str
    sentence: str
    outcome: str


def promises(certified: pd.DataFrame, layers: int) -> list[Promise]:
    """One entry per row of `tables.certified`; `layers` is L of the model."""
    return [_promise(row, layers) for row in certified.to_dict("records")]


def _promise(row: dict[Any, Any], layers: int) -> Promise:
    threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
    rule = "the full model" if threshold is None else f"threshold {threshold:g}, {row['layers']:.2f} of {layers} layers"
    state, outcome = _outcome(row)
    return Promise(
        state=state,
        short=f"{row['objective']} loss at most {row['delta']:g}, {row['measure']}: {rule}",
        sentence=_sentence(row, threshold),
        outcome=outcome,
    )


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


def _outcome(row: dict[Any, Any]) -> tuple[str, str]:
    trials = int(row["trials"])
    if not trials:
        return "untested", "Not tested: no texts were held out."
    broken, allowed = int(row["broken"]), float(row["epsilon"])
    counted = f"{trials - broken} of {trials} trials kept it, mean loss on held-out texts {row['test_loss']:.3f}"
    if broken <= allowed * trials:
        return "held", f"Held: {counted}."
    words = f"Broke in {broken} of {trials} trials, more than the {allowed:.0%} allowed: {counted}."
    return "broke", f"{words} Few held-out texts and overlapping trials can do this by chance."
