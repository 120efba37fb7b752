"""Lengths of the targets and sources of each task (Table 1 of the paper), the published rows below."""

import pandas as pd

from analysis import paper, scopes
from analysis.load import Records
from analysis.output import Output
from analysis.tables.formats import Table
from analysis.tables.origins import OURS, PUBLISHED
from calm_bench.errors import InputError

KEYS = ["task", "split", "model"]
LENGTHS = {"target": "n_target_tokens", "source": "n_source_tokens"}


def text_lengths(examples: pd.DataFrame) -> pd.DataFrame:
    """One row per task, split and model (whose tokenizer counts), and the paper's three validation sets.

    examples: rows of examples.parquet; of several runs on one split that with the most examples counts. Columns:
    task, split, model, source ("this run" or "published"), run_id, n (examples), and the mean and the 5th and 95th
    percentile of the tokens of the targets and of the sources, the end of the sequence included: target_mean,
    target_p5, target_p95, source_mean, source_p5, source_p95 (NaN where not published).

    Raises:
        InputError: no examples.
    """
    if not len(examples):
        raise InputError("no examples in examples.parquet")
    rows = []
    for key, runs in examples.groupby(KEYS, sort=False):
        run_id = runs["run_id"].value_counts(sort=False).idxmax()
        one = runs[runs["run_id"] == run_id]
        row = {**dict(zip(KEYS, key, strict=True)), "source": OURS, "run_id": run_id, "n": len(one)}
        for name, column in LENGTHS.items():
            low, high = one[column].quantile([0.05, 0.95])
            row |= {f"{name}_mean": one[column].mean(), f"{name}_p5": low, f"{name}_p95": high}
        rows.append(row)
    theirs = paper.published("table1").rename(columns=lambda name: name.replace("target_tokens", "target"))
    theirs = theirs.assign(split="validation", model="T5 1.1 small", source=PUBLISHED, run_id="")
    table = pd.concat([pd.DataFrame(rows), theirs], ignore_index=True)
    places = {task: place for place, task in enumerate(dict.fromkeys(table["task"]))}
    return table.sort_values("task", key=lambda tasks: tasks.map(places), kind="stable").reset_index(drop=True)


def text_lengths_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed, text cells; empty where the paper gives nothing."""
    return pd.DataFrame(
        {
            **{key: table[key] for key in (*KEYS, "source")},
            "n": ["" if pd.isna(n) else f"{n:.0f}" for n in table["n"]],
            **{f"{name} tokens, mean (5% to 95%)": _lengths(table, name) for name in LENGTHS},
        }
    )


def text_lengths_note() -> str:
    """What stands under the printed table."""
    return (
        "Lengths in tokens of the model's own tokenizer, the end of the sequence included, targets not cut. "
        f"Rows marked published: {paper.source('table1')}"
    )


def _lengths(table: pd.DataFrame, name: str) -> list[str]:
    columns = table[[f"{name}_mean", f"{name}_p5", f"{name}_p95"]].itertuples(index=False, name=None)
    return ["" if pd.isna(mean) else f"{mean:.0f} ({low:.0f} to {high:.0f})" for mean, low, high in columns]


def _of(records: Records) -> Table:
    table = text_lengths(records.examples)
    return Table(table, text_lengths_shown(table), text_lengths_note())


OUTPUTS = (Output("data", "Lengths of the texts", "Table 1", _of, scopes.everything),)
