"""What W&B gets of a record: numbers for its list of runs, tables and charts, and the files themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calm_bench.records.exits import by_layer, by_position
from calm_bench.records.introduced import TRAININGS
from calm_bench.records.live import rows
from calm_bench.records.mirrored import named_figures
from calm_bench.records.rules import named
from calm_bench.records.scalars import scalars
from calm_bench.records.store import RUN_FILE, Run

if TYPE_CHECKING:
    import wandb

LONG = ("examples", "generations", "tokens", "exits")  # in the artifact alone
TABLE_ROWS = 10_000  # W&B cuts longer tables without a word; the artifact has every row
LAYERS_FILE = "validation_by_layer.csv"  # in a training's folder: step, score, layer, loss, agreement
LOSSES_FILE = "training_loss.csv"  # there too: stage (as in TRAININGS), step, loss, learning_rate, validation_loss


def log(run: Run, tracked: wandb.Run) -> None:
    """Log all that the record holds, which for an unfinished run may be nothing but its state."""
    import wandb

    for row in rows(run):
        tracked.log(row)
    _log_training(run, tracked)
    shown = _shown(run)
    shown |= {f"figures/{name}": wandb.Image(str(file)) for name, file in named_figures(run).items()}
    if shown:
        tracked.log(shown)
    if {"frontier", "certificates"} <= set(run.tables):
        tracked.summary.update(scalars(run))
    summary = {name: value for name, value in run.info["summary"].items() if name != "seconds"}  # the scalars have them
    tracked.summary.update({**summary, "promises": run.info["promises"], "status": run.status})
    if run.status != "finished":
        return  # its files will change
    artifact = wandb.Artifact(f"exit-stats-{run.run_id}", type="exit-stats")
    for file in [*(file for name in run.tables for file in run.files(name)), run.path / RUN_FILE]:
        artifact.add_file(str(file.resolve()), policy="immutable")  # referred to where it is, not copied
    tracked.log_artifact(artifact)


def _shown(run: Run) -> dict[str, Any]:
    """The tables that are short enough to be looked at, and charts."""
    if "rules" not in run.tables:
        return {}
    rules = run.read("rules")
    tables = {name: run.read(name) for name in run.tables if name not in LONG}
    readable = {name: named(frame, rules) if "rule" in frame else frame for name, frame in tables.items()}
    shown: dict[str, Any] = {name: _table(frame) for name, frame in {**readable, "rules": rules}.items()}
    if "frontier" in tables:
        shown["frontier_chart"] = _chart(readable["frontier"])
    if "exits" in run.tables:
        counts = run.read("exits")
        exits = named(counts, rules)
        keys = ["measure", "threshold"]
        shown |= {
            "exit_layers": _table(by_layer(exits, keys)),
            "positions": _table(_shortened(by_position(exits, keys))),
        }
        if "certificates" in tables:
            certified = set(tables["certificates"].loc[tables["certificates"]["trial"].isna(), "rule"])
            for rule in rules.to_dict("records"):
                if rule["kind"] == "oracle" or (rule["rule"] in certified and rule["kind"] != "full"):
                    shown[f"exit_layers/{rule['name']}"] = _histogram(counts[counts["rule"] == rule["rule"]])
    return shown


def curves(run: Run) -> dict[str, list[dict[str, float]]]:
    """How the run's model was trained, by this run or an earlier one: entries by step under each of the names
    in `TRAININGS`, empty where nothing was trained.

    Keys: step; loss, learning_rate and validation_loss; and of the model's evaluations score (the full model's),
    loss/layer_1, agreement/layer_1 and so on.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TRAININGS.values()}
    identity = run.info["summary"].get("model_identity") or ""
    if not identity.startswith("train-"):
        return found
    folder = run.path.parent / "stages" / identity
    if (file := folder / LOSSES_FILE).exists():
        for stage, rows in pd.read_csv(file).groupby("stage"):
            entries = rows.drop(columns="stage").to_dict("records")
            found[TRAININGS[str(stage)]] += [
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


def _shortened(positions: pd.DataFrame) -> pd.DataFrame:
    """Up to the position from which on the table would have more rows than W&B shows."""
    n_rules = max(1, len(positions[["measure", "threshold"]].drop_duplicates()))
    return positions[positions["position"] < TABLE_ROWS // n_rules]


def _histogram(exits: pd.DataFrame) -> wandb.Histogram:
    import wandb

    counts = exits.groupby("layer")["count"].sum()
    layers = np.arange(1, counts.index.max() + 1)
    return wandb.Histogram(
        np_histogram=(counts.reindex(layers, fill_value=0).to_numpy(), np.arange(0.5, len(layers) + 1))
    )


def _table(frame: pd.DataFrame) -> wandb.Table:
    import wandb

    frame = frame[:TABLE_ROWS]
    cells = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(cells.columns), data=cells.to_numpy(), allow_mixed_types=True)
