"""What was promised, in words, and whether it held on texts that the calibration did not see."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from calm_bench.calibration import METHODS
from calm_bench.calibration.promise import promise


@dataclass(frozen=True)
class Promise:
    """One certificate for a reader; `state` is "held", "broke" (more often than allowed) or "untested".

    short and sentence say the promise, outcome what became of it, tally how many trials kept it ("49 of 50").
    """

    state: str
    short: str
    sentence: str
    outcome: str
    tally: str


def promises(certified: pd.DataFrame, layers: int) -> list[Promise]:
    """One entry per row of `tables.certified`; `layers` is L of the model."""
    return [_promise(row, layers) for row in certified.to_dict("records")]


def _promise(row: dict[Any, Any], layers: int) -> Promise:
    threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
    rule = (
        f"{row['measure']} never exits (full model)"
        if threshold is None
        else f"{row['measure']} {threshold:g}, {row['layers']:.2f} of {layers} layers"
    )
    state, outcome = _outcome(row)
    trials = int(row["trials"])
    return Promise(
        state=state,
        short=f"{row['objective']} loss at most {row['delta']:g}: {rule}",
        sentence=_sentence(row, threshold),
        outcome=outcome,
        tally=f"{trials - int(row['broken'])} of {trials}" if trials else "",
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
