"""What the report says of a promise, and by what it judges whether it held."""

import pandas as pd
import pytest

from analysis.report.promises import Tolerance, over_runs, tolerances, verdict
from analysis.tables import certified


def judged(losses: list[float], method: str = "ltt", threshold: float | None = 0.5, **more: float) -> Tolerance:
    """One certificate as `certificates_of` has it, as the report tells it."""
    (tolerance,) = tolerances(certified(certificates_of(losses, method, threshold, **more)), 8, "chrF")
    return tolerance


def certificates_of(
    losses: list[float], method: str = "ltt", threshold: float | None = 0.5, speedup: float = 2.0, delta: float = 0.1
) -> pd.DataFrame:
    """One certificate at δ = 0.1 and ε = 0.2, with these mean losses on the held-out texts of its trials."""
    base = {
        "group": "g",
        "run_id": "r",
        "objective": "textual",
        "delta": delta,
        "epsilon": 0.2,
        "measure": "state",
        "method": method,
    }
    base |= {"guarantee": "probability", "unit": "example", "together": 1}
    rest = {
        "threshold": threshold,
        "p_value": 0.01,
        "nearest_delta": 0.3 if threshold is None else None,
        "mean_exit_layer": 3.0,
        "score": 40.0,
        "speedup": speedup,
    }
    tried = ({"trial": i, "test_loss": loss, "n_calibration": 64} for i, loss in enumerate(losses))
    rows = [{"trial": None, "test_loss": None, "n_calibration": 80}, *tried]
    return pd.DataFrame([base | rest | row for row in rows]).astype({"threshold": float})


# Of few texts, held-out means scatter about what they estimate: only far above δ they refute a promise.
KEPT, SCATTERED, ABOVE, FAR_ABOVE = [0.05] * 9 + [0.2], [0.05] * 7 + [0.2] * 3, [0.05, 0.2] * 5, [0.19, 0.21] * 5


@pytest.mark.parametrize(
    ("losses", "method", "threshold", "state"),
    [
        (KEPT, "ltt", 0.5, "held"),
        (SCATTERED, "ltt", 0.5, "held"),  # three of ten above, but a mean of 0.095
        (ABOVE, "ltt", 0.5, "unclear"),
        (FAR_ABOVE, "ltt", 0.5, "broke"),
        ([], "ltt", 0.5, "untested"),
        ([0.0] * 10, "ltt", None, "full model"),
        (SCATTERED, "crc", 0.5, "held"),
        (ABOVE, "crc", 0.5, "unclear"),
        (FAR_ABOVE, "crc", 0.5, "broke"),
        ([0.3], "ucb", 0.5, "unclear"),  # one split says nothing of its noise
        (KEPT, "naive", 0.5, "not judged"),
        (KEPT, "from outside", 0.5, "not judged"),
    ],
)
def test_a_promise_is_judged_by_what_its_method_guarantees(
    losses: list[float], method: str, threshold: float | None, state: str
) -> None:
    (promise,) = judged(losses, method, threshold).promises
    assert promise.state == state
    assert f"{sum(loss > 0.1 for loss in losses)} of {len(losses)} overlapping splits" in promise.outcome or not losses


def test_a_rule_that_is_slower_than_the_full_model_is_said_to_be() -> None:
    (promise,) = judged(KEPT, speedup=0.9).promises
    assert promise.facts[1] == "speedup 0.90, slower than the full model"


def test_a_promise_is_said_for_anyone_and_in_full() -> None:
    tolerance = judged(KEPT)
    assert tolerance.headline == "Texts differ from the full model's by at most 0.1 on average"
    assert "1 − chrF" in tolerance.terms
    assert "ε = 0.2: with probability 0.8 over the draw of n = 80 calibration texts" in tolerance.terms
    (promise,) = tolerance.promises
    assert promise.facts == ("3.00 of 8 layers", "speedup 2.00", "held-out loss 0.065")
    assert "0.8" in promise.sentence


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        (0.1, "no threshold passed; one would at δ = 0.3"),
        (0.01, "n = 80 cannot certify it, whatever the losses (161 needed)"),
    ],
)
def test_why_the_full_model_runs_is_said(delta: float, why: str) -> None:
    (promise,) = judged([0.0], threshold=None, delta=delta).promises
    assert promise.facts == (why,)


def test_a_promise_of_several_runs_says_in_how_many_it_held() -> None:
    rows = [certificates_of(losses).assign(run_id=f"seed{n}") for n, losses in enumerate([KEPT, KEPT, FAR_ABOVE])]
    every = certified(pd.concat(rows))
    first = every[every["run_id"] == "seed0"]
    (tolerance,) = told = tolerances(first, 8, "chrF", every)
    assert tolerance.promises[0].over_runs == "held in 2 of 3 runs"
    assert over_runs(told) == (
        "Over 3 runs that differ in their seeds, 0 of 1 certified promises held in all; "
        "state at textual δ = 0.1 held in 2 of 3 runs."
    )
    assert over_runs([judged(KEPT)]) == ""


def test_the_verdict_counts_every_promise() -> None:
    held, broke, none = judged(KEPT), judged(FAR_ABOVE), judged([0.0], threshold=None)
    assert verdict([held, held]) == "For 2 of 2 promises a threshold was certified; both held on held-out texts."
    words = verdict([held, broke, none, judged(KEPT, "naive")])
    assert words.startswith("For 2 of 3 promises a threshold was certified; on held-out texts 1 held, 1 broke.")
    assert "For the other none passed" in words
    assert "For none of 1 promises" in verdict([none])
    assert "promise nothing" in verdict([judged(KEPT, "naive")])
