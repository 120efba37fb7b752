"""What R rules did on E examples, laid out from a record's numeric columns: texts and tokens are not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from calm_bench.calibration import Grid, Outcomes, cluster_numbers
from calm_bench.calibration.clusters import Numbers
from calm_bench.calibration.promise import STATIC
from calm_bench.errors import InputError
from calm_bench.records.store import Run

Floats = NDArray[np.float64]
COLUMNS = ("n_tokens", "mean_exit_layer", "textual_loss", "risk_loss", "flops_elbayad")


def outcomes(run: Run) -> Outcomes:
    """What a finished run's rules did on its examples. Raises InputError as `by_rule` and `outcomes_of` do."""
    rules, examples = run.read("rules"), run.read("examples", ["example", "cluster"])
    batches = run.table("generations").batches(["example", "rule", *COLUMNS])
    clusters = cluster_numbers(examples.sort_values("example")["cluster"].tolist())
    return outcomes_of(rules, by_rule(batches, COLUMNS, len(rules), len(examples)), clusters)


def by_rule(
    batches: Iterable[pa.Table | pa.RecordBatch], columns: Sequence[str], n_rules: int, n_examples: int
) -> dict[str, Floats]:
    """Numeric columns of generations, whose rows may come in any order, each as (R, E).

    Raises InputError where an example lacks a rule, or a row names what is no rule or example.
    """
    values = np.full((len(columns), n_rules, n_examples), np.nan)
    for batch in batches:
        rule, example = (batch[name].to_numpy() for name in ("rule", "example"))
        if len(rule) and (rule.max() >= n_rules or example.max() >= n_examples):
            raise InputError("generations: a row names a rule or an example that the record does not describe")
        for place, name in enumerate(columns):
            values[place, rule, example] = batch[name].to_numpy()
    if absent := int(np.isnan(values).any(0).sum()):
        raise InputError(f"generations: {absent} of {n_rules * n_examples} texts are missing: every example times rule")
    return dict(zip(columns, values, strict=True))


def outcomes_of(rules: pd.DataFrame, columns: Mapping[str, Floats], clusters: Numbers | None = None) -> Outcomes:
    """`COLUMNS`, each (R, E), as outcomes of `rules`, the table of that name; InputError without a full model."""
    full = rules.loc[rules["kind"] == "full", "rule"]
    if len(full) != 1:
        raise InputError("rules: one must be the full model")
    depth = rules.loc[full.index[0], "last_layer"]
    static = rules[(rules["kind"] == STATIC) & (rules["last_layer"] < depth)].sort_values("last_layer", ascending=False)
    baseline = [Grid(STATIC, static["last_layer"].to_numpy(np.float64), static["rule"].to_numpy())]
    return Outcomes(
        losses={"textual": columns["textual_loss"], "risk": columns["risk_loss"]},
        tokens=columns["n_tokens"],
        layers=columns["mean_exit_layer"] * columns["n_tokens"],
        flops=columns["flops_elbayad"],
        full=int(full.iloc[0]),
        grids=[
            Grid(str(measure), grid["threshold"].to_numpy(np.float64), grid["rule"].to_numpy())
            for measure, grid in rules[rules["kind"] == "adaptive"].groupby("measure", sort=False)
        ]
        + baseline * bool(len(static)),
        clusters=clusters,
    )
