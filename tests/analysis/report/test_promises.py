"""What the report says of a promise, and by what it judges whether it held."""

import pandas as pd
import pytest

from analysis.report.promises import Tolerance, tolerances, verdict
from analysis.tables import certified


def judged(losses: list[float], method: str = "ltt", threshold: float | None = 0.5) -> Tolerance:
    """One certificate at δ = 0.1 and ε = 0.2, with these mean losses on the held-out texts of its trials."""
    base = {"group": "g", "objective": "textual", "delta": 0.1, "epsilon": 0.2, "measure": "state", "method": method}
    rest = {
        "n_calibration": 80,
        "threshold": threshold,
        "p_value": 0.01,
        "mean_exit_layer": 3.0,
        "score": 40.0,
        "speedup": 2.0,
    }
    rows = [{"trial": None, "test_loss": None}, *({"trial": i, "test_loss": x} for i, x in enumerate(losses))]
    certificates = pd.DataFrame([base | rest | row for row in rows]).astype({"threshold": float})
    (tolerance,) = tolerances(certified(certificates), 8, "chrF")
    return tolerance


KEPT, OFTEN_BROKEN, BARELY_BROKEN = [0.05] * 9 + [0.2], [0.05] * 7 + [0.2] * 3, [0.09] * 7 + [0.11] * 3


@pytest.mark.parametrize(
    ("losses", "method", "threshold", "state"),
    [
        (KEPT, "ltt", 0.5, "held"),
        (OFTEN_BROKEN, "ltt", 0.5, "broke"),
        ([], "ltt", 0.5, "untested"),
        ([0.0] * 10, "ltt", None, "full model"),
        (BARELY_BROKEN, "crc", 0.5, "held"),  # it promises an average over trials, and that is 0.096
        ([0.05] * 5 + [0.2] * 5, "crc", 0.5, "broke"),
        (KEPT, "naive", 0.5, "not judged"),
        (KEPT, "from outside", 0.5, "not judged"),
    ],
)
def test_a_promise_is_judged_by_what_its_method_guarantees(
    losses: list[float], method: str, threshold: float | None, state: str
) -> None:
    (promise,) = judged(losses, method, threshold).promises
    assert promise.state == state
    assert f"{sum(loss <= 0.1 for loss in losses)} of {len(losses)} trials" in promise.outcome or not losses


def test_a_promise_is_said_for_anyone_and_in_full() -> None:
    tolerance = judged(KEPT)
    assert tolerance.headline == "Texts differ from the full model's by at most 0.1 on average"
    assert "1 − chrF" in tolerance.terms
    assert "with probability 0.8 over the draw of n = 80 calibration texts" in tolerance.terms
    (promise,) = tolerance.promises
    assert promise.facts == ("3.00 of 8 layers", "speedup 2.00", "9 of 10 trials")
    assert "0.8" in promise.sentence


def test_the_verdict_counts_every_promise() -> None:
    held, broke, none = judged(KEPT), judged(OFTEN_BROKEN), judged([0.0], threshold=None)
    assert verdict([held, held]) == "For 2 of 2 promises a threshold was certified; both held on held-out texts."
    words = verdict([held, broke, none, judged(KEPT, "naive")])
    assert words.startswith("For 2 of 3 promises a threshold was certified; on held-out texts 1 held, 1 broke.")
    assert "For the other none passed" in words
    assert "For none of 1 promises" in verdict([none])
    assert "promise nothing" in verdict([judged(KEPT, "naive")])
