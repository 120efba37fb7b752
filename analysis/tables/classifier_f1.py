"""How well the exit classifier says "do not exit", by how it was taught (Table D.1 of the paper)."""

import pandas as pd

from analysis import paper, scopes
from analysis.load import Records
from analysis.output import Output, asked_by
from analysis.tables.formats import Table, with_interval
from analysis.tables.origins import OURS, PUBLISHED
from calm_bench.errors import InputError

OBJECTIVES = ("geometric", "independent")
LAYERS = (1, 4, 7)
"""The layers of the paper's table, of 8."""


def classifier_f1(probe: pd.DataFrame, objectives: pd.Series) -> pd.DataFrame:
    """One row per task, training objective and layer below L; after ours, the published ones.

    probe: rows of classifier_f1.parquet. objectives: what each run's classifier was taught by, indexed by
    run_id: `records.setting("training.classifier_objective")`.

    Columns: task, group, objective ("geometric" or "independent"), source ("this run" or "published"), run_id, layer,
    n, n_tokens, disagree (share of tokens at which the layer's prediction is not the last layer's), f1, f1_low and
    f1_high (95%, over examples; F1 of "do not exit" at a cut of 0.5, NaN where no token is of that class).

    Raises:
        InputError: no row.
    """
    if not len(probe):
        raise InputError("no run was asked for it (probes=[classifier_f1])")
    ours = probe.drop(columns=["name", "model"]).assign(objective=probe["run_id"].map(objectives), source=OURS)
    theirs = paper.published("table_d1").melt("training", value_name="f1").rename(columns={"training": "objective"})
    place = theirs.pop("variable").str.rsplit("_layer", n=1, expand=True)
    theirs = theirs.assign(task=place[0], group=place[0], layer=place[1].astype(int), source=PUBLISHED, run_id="")
    tasks = {task: number for number, task in enumerate(dict.fromkeys([*ours["task"], *theirs["task"]]))}
    table = pd.concat([ours, theirs], ignore_index=True)
    order = ["_task", "source", "objective", "group", "layer"]
    table = table.assign(_task=table["task"].map(tasks)).sort_values(order, ascending=[True, False, True, True, True])
    columns = ["task", "group", "objective", "source", "run_id", "layer", "n", "n_tokens"]
    return table[[*columns, "disagree", "f1", "f1_low", "f1_high"]].reset_index(drop=True)


def classifier_f1_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: a column for each layer, with a star on the paper's; first how many tokens disagree."""
    layers = sorted(table["layer"].unique())
    rows: list[dict[str, str]] = []
    for key, part in table.groupby(["task", "objective", "source", "run_id"], sort=False, dropna=False):
        task, objective, source = map(str, key[:3])
        part = part.set_index("layer")
        about = {"task": task, "objective": objective, "source": source}
        if source == OURS and not any(row["objective"] == "-" and row["task"] == task for row in rows):
            cells = {_head(layer): f"{100 * part.loc[layer, 'disagree']:.0f}%" for layer in part.index}
            rows.append({**about, "objective": "-", "value": "tokens that disagree", **cells})
        cells = {_head(layer): with_interval(part.loc[layer].to_dict(), "f1") for layer in part.index}
        rows.append({**about, "value": "F1", **cells})
    columns = ["task", "objective", "source", "value", *map(_head, layers)]
    return pd.DataFrame(rows, columns=columns).fillna("")


def classifier_f1_note(table: pd.DataFrame) -> str:
    """What stands under the printed table."""
    ours = table[table["source"] == OURS]
    n, tokens = int(ours["n"].max()), int(ours["n_tokens"].max())
    return (
        f'F1 of "do not exit" at a cut of 0.5 with its 95% interval over n = {n} examples ({tokens} target tokens), '
        "and the share of tokens at which the layer's prediction is not the last layer's, the ones not to exit at; "
        f"*: a layer of the paper's table. Rows marked published: {paper.source('table_d1')}"
    )


def _head(layer: int) -> str:
    return f"layer {layer}{'*' * (layer in LAYERS)}"


def _of(records: Records) -> Table:
    table = classifier_f1(records.probe("classifier_f1"), records.setting("training.classifier_objective"))
    return Table(table, classifier_f1_shown(table), classifier_f1_note(table))


OUTPUTS = (
    Output(
        "classifier", "F1 of the exit classifier", "Table D.1", _of, scopes.asked("classifier_f1"),
        asked_by("classifier_training"),
    ),
)  # fmt: skip
