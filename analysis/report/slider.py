"""What each tolerance δ would certify: the table behind the page's slider, made from the recorded losses."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.load import Records
from analysis.style import look, ordered
from analysis.trials import settings_of
from calm_bench import bootstrap
from calm_bench.calibration import METHODS, Outcomes, Promise, held_out, promises
from calm_bench.calibration.promise import OBJECTIVES, Objective

DELTAS = {"textual": np.arange(1, 41) / 100, "risk": np.arange(1, 41) / 400}
COSTS = ("mean_exit_layer", "flops_reduction", "seconds", "speedup", "score")


def slider(part: Records) -> dict[str, Any] | None:
    """The table of one group's slider; None where the records hold no losses or name no method that is known here.

    Keys: layers (L), epsilon, quality, loss (what the textual loss is, in words), rules (by number: name and, where
    known, value, low and high of mean_exit_layer, flops_reduction, seconds, speedup and score), full (the full model's
    number), colours (by measure), promised (the run's own δ by objective) and objectives: by objective and measure,
    for each δ, [δ, rule, held trials, trials, mean held-out loss or null, "held", "broke", "unclear" or "untested"].
    """
    objectives: dict[Objective, dict[str, list[Any]]] = {}
    rules: dict[str, dict[str, Any]] = {}
    full, epsilon = "", 0.0
    for place, about in enumerate(part.runs.to_dict("records")):
        run, own = part.stored[str(about["run_id"])], about["config"].get("calibration") or {}
        if not run.has("generations") or str(own.get("method")) not in METHODS:
            continue
        outcomes = run.outcomes
        epsilon = float(own["epsilon"])
        settings = settings_of(own, outcomes, METHODS[own["method"]], epsilon)
        n = int(outcomes.units(settings.unit).max()) + 1
        full = full or f"{place}/{outcomes.full}"
        saved = _flops_saved(outcomes, int(own.get("bootstrap_seed") or 0))
        for objective in OBJECTIVES:
            deltas = sorted({*np.round(DELTAS[objective], 4).tolist(), *(own.get(objective) or ())})
            for made in promises(outcomes, {objective: deltas}, settings):
                key = full if made.certificate.index is None else f"{place}/{made.rule}"
                if key not in rules:
                    rules[key] = _rule(part, str(about["run_id"]), made.rule) | {"flops_reduction": saved[made.rule]}
                point = [made.certificate.delta, key, *_fared(made, n)]
                objectives.setdefault(objective, {}).setdefault(made.certificate.measure, []).append(point)
    if not objectives:
        return None
    measures = ordered({measure for by_measure in objectives.values() for measure in by_measure})
    rules.setdefault(full, _rule(part, *_full(part)))
    return {
        "layers": part.layers,
        "epsilon": epsilon,
        "quality": part.quality,
        "losses": {"textual": f"1 − {part.similarity}", "risk": f"{part.similarity} lost"},
        "rules": rules,
        "full": full,
        "colours": {measure: look(measure)[0] for measure in measures},
        "promised": {objective: _promised(part, objective) for objective in objectives},
        "objectives": {
            objective: {measure: by_measure[measure] for measure in measures if measure in by_measure}
            for objective, by_measure in objectives.items()
        },
    }


def _flops_saved(outcomes: Outcomes, seed: int) -> list[list[float | None]]:
    """The FLOPs reduction of each rule with its 95% interval over examples."""
    return [
        [_number(value) for value in values]
        for values in zip(*bootstrap.reduction(outcomes.flops, outcomes.tokens, outcomes.full, seed=seed), strict=True)
    ]


def _fared(made: Promise, n: int) -> list[Any]:
    """Held trials, trials, mean held-out loss, and what became of the promise."""
    if made.check is None:
        return [0, 0, None, "untested"]
    losses = made.check.test_loss
    delta = made.certificate.delta
    found = held_out(losses, made.check.trials.n_calibration, n)
    state = "held" if found.mean <= delta else "broke" if found.broke(delta) else "unclear"
    kept = int((losses <= delta).sum())
    return [kept, len(losses), round(found.mean, 4), state]


def _rule(part: Records, run_id: str, rule: int) -> dict[str, Any]:
    frontier = part.frontier
    row = frontier[(frontier["run_id"] == run_id) & (frontier["rule"] == rule)]
    if not len(row):  # a baseline that another run of the group holds
        row = frontier[frontier["measure"] == "full"]
    one = row.iloc[0]
    sign = "layer" if one["measure"] == "static" else "λ ="
    name = "full model" if one["measure"] == "full" else f"{one['measure']}, {sign} {one['threshold']:g}"
    values = {cost: [_number(one.get(cost + end)) for end in ("", "_low", "_high")] for cost in COSTS}
    return {"name": name, **values}


def _full(part: Records) -> tuple[str, int]:
    row = part.rules[part.rules["kind"] == "full"].iloc[0]
    return str(row["run_id"]), int(row["rule"])


def _promised(part: Records, objective: Objective) -> list[float]:
    own = part.certificates
    return sorted(float(delta) for delta in own.loc[own["objective"] == objective, "delta"].unique())


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(f"{value:.5g}")
