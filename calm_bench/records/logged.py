"""What W&B gets of a record: numbers for its list of runs, tables and charts, and the files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calm_bench.records import schema
from calm_bench.records.mirrored import figures_of
from calm_bench.records.scalars import scalars
from calm_bench.records.store import RUN_FILE, Run

if TYPE_CHECKING:
    import wandb

LONG = ("generations", "tokens")  # in the artifact alone
TABLE_ROWS = 10_000  # W&B cuts longer tables without a word; the artifact has every row
LAYERS_FILE = "validation_by_layer.csv"  # in a training's folder: step, score, layer, loss, agreement
LOSSES_FILE = "training_loss.csv"  # there too: stage (model, classifier), step, loss, learning_rate, validation_loss
STAGES = {"model": "training", "classifier": "classifier_training"}  # of a training, and what W&B calls their charts


def log(run: Run, tracked: wandb.Run) -> None:
    """Log all that the record holds, which for an unfinished run may be nothing but its state."""
    import wandb

    _log_training(run, tracked)
    tables = {name: run.read(name) for name in schema.SCHEMAS if run.file(name).exists()}
    shown: dict[str, Any] = {name: _table(tables[name]) for name in tables if name not in LONG}
    if "frontier" in tables:
        shown["frontier_chart"] = _chart(tables["frontier"])
    if "tokens" in tables:
        tokens = tables["tokens"]
        shown |= {"exit_layers": _table(exit_layers(tokens)), "positions": _table(positions(tokens))}
        if "certificates" in tables:
            rules = _certified(tokens, tables["certificates"])
            shown |= {f"exit_layers/{rule}": _histogram(layers) for rule, layers in rules}
    shown |= {f"figures/{file.stem}": wandb.Image(str(file)) for file in figures_of(run)}
    if shown:
        tracked.log(shown)
    if {"frontier", "certificates"} <= set(tables):
        tracked.summary.update(scalars(run))
    tracked.summary.update({**run.info["summary"], "promises": run.info["promises"], "status": run.status})
    if run.status != "finished":
        return  # its files will change
    artifact = wandb.Artifact(f"exit-stats-{run.run_id}", type="exit-stats")
    for file in [run.file(name) for name in tables] + [run.path / RUN_FILE]:
        artifact.add_file(str(file.resolve()), policy="immutable")  # referred to where it is, not copied
    tracked.log_artifact(artifact)


def curves(run: Run) -> dict[str, list[dict[str, float]]]:
    """How the run's model was trained, by this run or an earlier one: entries by step of `training`, and of
    `classifier_training`. Both are empty where nothing was trained.

    Keys: step; loss, learning_rate and validation_loss; and of the model's evaluations score (the full model's),
    loss/layer_1, agreement/layer_1 and so on.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STAGES.values()}
    identity = run.info["summary"].get("model_identity") or ""
    if not identity.startswith("train-"):
        return found
    folder = run.path.parent / "stages" / identity
    if (file := folder / LOSSES_FILE).exists():
        for stage, rows in pd.read_csv(file).groupby("stage"):
            entries = rows.drop(columns="stage").to_dict("records")
            found[STAGES[str(stage)]] += [
                {str(key): value for key, value in entry.items() if pd.notna(value)} for entry in entries
            ]
    if (file := folder / LAYERS_FILE).exists():
        found["training"] += [_evaluation(layers) for _, layers in pd.read_csv(file).groupby("step")]
    return found


def _evaluation(layers: pd.DataFrame) -> dict[str, float]:
    entry = {name: float(layers[name].iloc[0]) for name in ("step", "score")}
    for what in ("loss", "agreement"):
        entry |= {f"{what}/layer_{layer}": value for layer, value in zip(layers["layer"], layers[what], strict=True)}
    return entry


def _log_training(run: Run, tracked: wandb.Run) -> None:
    for name, entries in curves(run).items():
        tracked.define_metric(f"{name}/step", hidden=True)
        tracked.define_metric(f"{name}/*", step_metric=f"{name}/step")
        for entry in entries:
            tracked.log({f"{name}/{key}": value for key, value in entry.items()})


def _chart(frontier: pd.DataFrame) -> Any:
    """Score against mean exit layer, one curve for each measure and each baseline."""
    import wandb

    points = {measure: rows.sort_values("mean_exit_layer") for measure, rows in frontier.groupby("measure", sort=False)}
    return wandb.plot.line_series(
        xs=[rows["mean_exit_layer"].tolist() for rows in points.values()],
        ys=[rows["score"].tolist() for rows in points.values()],
        keys=[str(measure) for measure in points],
        title="Frontier: score by mean exit layer",
        xname="mean exit layer",
    )


def exit_layers(tokens: pd.DataFrame) -> pd.DataFrame:
    """Per rule and exit layer: the share of the rule's tokens that left there, and their mean confidence (or NaN)."""
    rules = ["measure", "threshold"]
    rows = (
        tokens.groupby([*rules, "exit_layer"], dropna=False)
        .agg(n_tokens=("position", "size"), confidence=("confidence", "mean"))
        .reset_index()
    )
    rows["share"] = rows["n_tokens"] / rows.groupby(rules, dropna=False)["n_tokens"].transform("sum")
    return rows


def positions(tokens: pd.DataFrame, max_rows: int = TABLE_ROWS) -> pd.DataFrame:
    """Per rule and position: the mean exit layer and the number of texts that long.

    The table ends at the position from which on it would have more than `max_rows` rows.
    """
    rules = ["measure", "threshold"]
    rows = (
        tokens.groupby([*rules, "position"], dropna=False)
        .agg(mean_exit_layer=("exit_layer", "mean"), n_tokens=("exit_layer", "size"))
        .reset_index()
    )
    n_rules = max(1, len(rows[rules].drop_duplicates()))
    return rows[rows["position"] < max_rows // n_rules]


def _certified(tokens: pd.DataFrame, certificates: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """The exit layers under each rule that was certified on all examples, and under the oracle."""
    chosen = certificates[certificates["trial"].isna() & certificates["threshold"].notna()]
    for measure, threshold in sorted(set(zip(chosen["measure"], chosen["threshold"], strict=True))):
        rows = (tokens["measure"] == measure) & np.isclose(tokens["threshold"], threshold)
        yield f"{measure}@{threshold:g}", tokens.loc[rows, "exit_layer"]
    if (oracle := tokens["measure"] == "oracle").any():
        yield "oracle", tokens.loc[oracle, "exit_layer"]


def _histogram(layers: pd.Series) -> wandb.Histogram:
    import wandb

    return wandb.Histogram(np_histogram=np.histogram(layers, bins=np.arange(0.5, layers.max() + 1)))


def _table(frame: pd.DataFrame) -> wandb.Table:
    import wandb

    frame = frame[:TABLE_ROWS]
    cells = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(cells.columns), data=cells.to_numpy(), allow_mixed_types=True)
