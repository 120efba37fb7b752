"""A finished run in a handful of numbers: what a sweep can optimise and what W&B shows in its list of runs."""

from __future__ import annotations

from calm_bench.records.rules import named
from calm_bench.records.store import Run


def scalars(run: Run) -> dict[str, float]:
    """The run's numbers by name, read from its tables.

    certified_layers/MEASURE/OBJECTIVE_δ: mean decoder layers per token of the rule certified on all examples (the
    model's depth where only the full model could be certified), and certified_flops_reduction/... the same for the
    decoder's FLOPs. δ is in percent, `textual_10pct` for δ = 0.1: W&B takes a dot in a name for nesting.
    full_score, oracle_layers: the full model's quality, 0..100, and the oracle's mean layers.
    """
    frontier = named(run.read("frontier"), run.read("rules"))
    certificates = run.read("certificates")
    values: dict[str, float] = {}
    # A record may hold later promises of another method or ε; the run's own came first.
    own = certificates[certificates["trial"].isna()].drop_duplicates(["objective", "delta", "measure"])
    for column, name in (("mean_exit_layer", "certified_layers"), ("flops_reduction", "certified_flops_reduction")):
        for row in own.to_dict("records"):
            percent = f"{100 * row['delta']:g}".replace(".", "_")
            values[f"{name}/{row['measure']}/{row['objective']}_{percent}pct"] = float(row[column])
    for measure, column, name in (("full", "score", "full_score"), ("oracle", "mean_exit_layer", "oracle_layers")):
        for value in frontier.loc[frontier["measure"] == measure, column]:
            values[name] = float(value)
    return values
