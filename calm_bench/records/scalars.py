"""A finished run in a handful of numbers: what a sweep can optimise and what W&B shows in its list of runs."""

from __future__ import annotations

import math

from calm_bench.records.rules import named
from calm_bench.records.store import Run


def scalars(run: Run) -> dict[str, float]:
    """The run's numbers by name, read from its tables; no name has that of the experiment.

    certified/MEASURE/OBJECTIVE_δ/...: of the rule certified on all examples (the full model where no other could be).
    δ is in percent, `textual_10pct` for δ = 0.1: W&B takes a dot in a name for nesting.
        layers: mean decoder layers per token. flops_reduction: the same for the decoder's FLOPs, full / early.
        score: quality, 0..100. loss: mean loss of the objective. threshold: λ, the layer for static; not of the full
        model. speedup: full / early seconds; where the rule was timed.
    full_score, oracle_layers: the full model's quality, 0..100, and the oracle's mean layers.
    seconds/STAGE: wall seconds. peak_memory_mb: of the process.
    """
    frontier = named(run.read("frontier"), run.read("rules"))
    certificates = run.read("certificates")
    values: dict[str, float] = {}
    # A record may hold later promises of another method or ε; the run's own came first.
    own = certificates[certificates["trial"].isna()].drop_duplicates(["objective", "delta", "measure"])
    points = frontier.set_index("rule")[["score", "textual_loss", "risk_loss", "threshold", "speedup"]]
    for row in own.join(points, on="rule").to_dict("records"):
        promise = f"{row['objective']}_{100 * row['delta']:g}pct".replace(".", "_")
        found = {
            "layers": row["mean_exit_layer"],
            "flops_reduction": row["flops_reduction"],
            "score": row["score"],
            "loss": row[f"{row['objective']}_loss"],
            "threshold": row["threshold"],
            "speedup": row["speedup"],
        }
        values |= {f"certified/{row['measure']}/{promise}/{name}": float(value) for name, value in found.items()}
    for measure, column, name in (("full", "score", "full_score"), ("oracle", "mean_exit_layer", "oracle_layers")):
        for value in frontier.loc[frontier["measure"] == measure, column]:
            values[name] = float(value)
    values |= {f"seconds/{stage}": float(value) for stage, value in run.info["summary"].get("seconds", {}).items()}
    values["peak_memory_mb"] = run.info["peak_memory_mb"] or math.nan
    return {name: value for name, value in values.items() if not math.isnan(value)}
