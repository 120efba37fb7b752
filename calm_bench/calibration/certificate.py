"""The certificate: which threshold keeps the promise, or that only the full model does."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from calm_bench.calibration.checks import check_choice, check_grid, check_open_probability
from calm_bench.calibration.methods import Method, find_method
from calm_bench.calibration.parts import whole
from calm_bench.calibration.procedures import last_accepted
from calm_bench.calibration.promise import OBJECTIVES, Objective, promise


@dataclass(frozen=True)
class Certificate:
    """A chosen threshold and what may be said of it (CALM section 4, Definitions 1 and 2).

    objective: "textual" or "risk". delta: tolerance on the mean loss. epsilon: probability with which the promise may
    fail. measure: the confidence measure. method: the calibration method's name. n: calibration examples.
    threshold: the last accepted one, or None: nothing was accepted and the full model is used. index: its place in the
    grid, or None. p_value: its p-value, or None for the full model and for methods without p-values.
    promise: all this in one sentence.
    """

    objective: Objective
    delta: float
    epsilon: float
    measure: str
    method: str
    n: int
    threshold: float | None
    index: int | None
    p_value: float | None
    promise: str


def certify(
    losses: ArrayLike,
    thresholds: ArrayLike,
    *,
    objective: Objective,
    delta: float,
    epsilon: float,
    measure: str,
    method: str | Method = "ltt",
) -> Certificate:
    """Choose the lowest threshold of one measure whose promise can be kept (CALM section 4.2, Algorithm 1).

    `losses` (K, n) in [0, 1]: loss of each calibration example at each threshold. `thresholds` (K,): strictly
    descending, in (0, 1]; the full model is not among them. `objective` says which loss it is: "textual" or "risk".
    `delta`, `epsilon` in (0, 1). `method`: a name in METHODS ("ltt", "ucb", "crc", "naive", ...), or a Method.
    Raises InputError, in one line, on anything else.
    """
    check_choice("objective", objective, OBJECTIVES)
    table, grid = check_grid(losses, thresholds)
    delta, epsilon = check_open_probability("delta", delta), check_open_probability("epsilon", epsilon)
    chosen = find_method(method)
    n = table.shape[1]

    accepted, p_values = chosen.judge(table, whole(n), delta, epsilon)
    place = int(last_accepted(accepted[0]))
    index = None if place < 0 else place
    threshold = None if index is None else float(grid[index])
    return Certificate(
        objective=objective,
        delta=delta,
        epsilon=epsilon,
        measure=measure,
        method=chosen.name,
        n=n,
        threshold=threshold,
        index=index,
        p_value=None if index is None or p_values is None else float(p_values[0, index]),
        promise=promise(
            chosen.guarantee,
            objective=objective,
            delta=delta,
            epsilon=epsilon,
            measure=measure,
            n=n,
            threshold=threshold,
        ),
    )
