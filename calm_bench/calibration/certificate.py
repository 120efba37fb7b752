"""The certificate: which threshold keeps the promise, or that only the full model does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.calibration.checks import check_choice, check_grid, check_open_probability
from calm_bench.calibration.methods import Method, find_method, shared_level
from calm_bench.calibration.parts import whole
from calm_bench.calibration.procedures import last_accepted
from calm_bench.calibration.promise import OBJECTIVES, STATIC, UNITS, Objective, Unit, promise


@dataclass(frozen=True)
class Certificate:
    """A chosen threshold and what may be said of it (CALM section 4, Definitions 1 and 2).

    objective: "textual" or "risk". delta: tolerance on the mean loss. epsilon: probability with which the promise, or
    any of `together` promises, may fail. measure: the confidence measure, or "static". method: the calibration method's
    name. unit: "example" or "cluster". n: calibration units.
    threshold: the last accepted one, or None: nothing was accepted and the full model is used. index: its place in the
    grid, or None. p_value: its p-value, or None for the full model and for methods without p-values.
    promise: all this in one sentence.
    """

    objective: Objective
    delta: float
    epsilon: float
    measure: str
    method: str
    unit: Unit
    together: int
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
    unit: Unit = "example",
    together: int = 1,
) -> Certificate:
    """Choose the lowest threshold of one measure whose promise can be kept (CALM section 4.2, Algorithm 1).

    `losses` (K, n) in [0, 1]: loss of each calibration example, or mean loss of each cluster, at each threshold.
    `thresholds` (K,): strictly descending, above 0 (layers where `measure` is "static"); the full model is not among
    them. `objective` says which loss it is: "textual" or "risk". `delta`, `epsilon` in (0, 1). `method`: a name in
    METHODS ("ltt", "ucb", "crc", "naive", ...), or a Method. `unit`: what was drawn, "example" or "cluster".
    `together`: with probability 1 - epsilon so many promises hold at once, each tested at epsilon / together
    (Bonferroni). Raises InputError, in one line, on anything else.
    """
    check_choice("objective", objective, OBJECTIVES)
    table, grid = check_grid(losses, thresholds, np.inf if measure == STATIC else 1)
    delta, epsilon = check_open_probability("delta", delta), check_open_probability("epsilon", epsilon)
    check_choice("unit", unit, UNITS)
    chosen = find_method(method)
    level = shared_level(chosen, epsilon, together)
    n = table.shape[1]

    accepted, p_values = chosen.judge(table, whole(n), delta, level)
    place = int(last_accepted(accepted[0]))
    index = None if place < 0 else place
    threshold = None if index is None else float(grid[index])
    return Certificate(
        objective=objective,
        delta=delta,
        epsilon=epsilon,
        measure=measure,
        method=chosen.name,
        unit=unit,
        together=together,
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
            unit=unit,
            together=together,
        ),
    )
