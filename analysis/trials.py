"""The trials of a run's promises at any δ and ε and by any method, without a model, split as the run itself split them.

The records hold the loss of every example under every rule, so a finer grid of δ costs no decoding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.load import Records
from calm_bench.calibration import METHODS, Method, Outcomes, Settings, promises
from calm_bench.calibration.promise import Objective
from calm_bench.errors import InputError

DELTAS: dict[str, tuple[float, ...]] = {
    "textual": (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
    "risk": (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1),
}


def trials(
    records: Records,
    objective: Objective,
    *,
    deltas: Sequence[float] | None = None,
    epsilons: Sequence[float] | None = None,
    method: str | None = None,
    measures: Sequence[str] | None = None,
) -> pd.DataFrame:
    """What the trials of each run and measure would have certified and measured; all else as the run was told.

    deltas: `DELTAS` of the objective if not given. epsilons, method: the run's own if not given. measures: all of them.
    Returns rows like those of `records.certificates` (run_id, group, objective, delta, epsilon, measure, method, trial,
    n_calibration, rule, p_value, test_loss, mean_exit_layer, flops_reduction), without the rows certified on all
    examples.

    Raises:
        InputError: no run has texts, a measure and trials, or a value is out of range.
    """
    rows = []
    for about in records.runs.to_dict("records"):
        run, own = records.stored[about["run_id"]], about["config"].get("calibration") or {}
        name = method or own.get("method")
        if not run.has("generations") or not own.get("trials") or not isinstance(name, str) or name not in METHODS:
            continue
        outcomes = run.outcomes
        for epsilon in epsilons or [own["epsilon"]]:
            settings = settings_of(own, outcomes, METHODS[name], epsilon)
            for promise in promises(outcomes, {objective: deltas or DELTAS[objective]}, settings, measures):
                rows += [{"run_id": about["run_id"], "group": about["group"], **row} for row in promise.rows()[1:]]
    if not rows:
        raise InputError(
            "no run with texts, a measure, trials (calibration.trials) and a method known here: none to certify"
        )
    return pd.DataFrame(rows)


def settings_of(own: Mapping[str, Any], outcomes: Outcomes, method: Method, epsilon: float) -> Settings:
    """How a run with this `calibration` makes and checks its promises, but for the method and ε."""
    joint = own.get("joint") and method.guarantee == "probability"
    together = len(outcomes.grids) * len([*own["textual"], *own["risk"]]) if joint else 1
    splits = own.get("trials") or 0, own["fraction"], own["seed"], own.get("unit", "example")
    return Settings(epsilon, method, *splits, together=together)
