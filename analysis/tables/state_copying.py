"""What the ways of filling skipped layers cost, at oracle exits (section 3.3.1 of the paper)."""

import numpy as np
import pandas as pd

from analysis import paper, scopes
from analysis.load import Records
from analysis.output import Output, asked_by
from analysis.spread import of_mean
from analysis.tables.formats import Table, with_interval
from analysis.tables.origins import OURS, PUBLISHED
from calm_bench.errors import InputError

WAYS = ("full", "true_state", "exit_state", "first_state", "projected_kv")


def state_copying(
    frontier: pd.DataFrame, ways: pd.Series, runs: pd.DataFrame, generations: pd.DataFrame
) -> pd.DataFrame:
    """One row per task and way with oracle exits, the full model first, and the published rows below ours.

    frontier: rows of frontier.parquet. ways: `records.setting("state_copying")`, indexed by run_id. runs: the frame of
    that name, for the scores' names. generations: those of the full model and the oracle, with their scores.

    Columns: task, state_copying ("full" for the full model), source ("this run" or "published"), group, run_id, n,
    quality (the score's name), score, score_low and score_high (0..100, 95% over examples), lost (0..100, by which the
    full model's text of the same example is more similar to the references, mean) with lost_low and lost_high (95%, of
    paired differences), similarity (mean, to the full model's text, in [0, 1]), mean_exit_layer with its interval,
    mean_exit_layer_low and mean_exit_layer_high. NaN: not published.

    Raises:
        InputError: no oracle exits.
    """
    oracle = frontier[frontier["measure"] == "oracle"]
    if not len(oracle):
        raise InputError("no oracle exits in frontier.parquet (baselines=[oracle])")
    oracle = oracle.assign(state_copying=oracle["run_id"].map(ways))
    full = frontier[(frontier["measure"] == "full") & frontier["run_id"].isin(oracle["run_id"])]
    full = full.drop_duplicates(["task", "model"]).assign(state_copying="full")
    ours = pd.concat([full, oracle], ignore_index=True)
    quality = runs.set_index("run_id")["quality"]
    ours = ours.assign(similarity=1 - ours["textual_loss"], source=OURS, quality=ours["run_id"].map(quality))
    ours = ours.merge(_lost(generations), how="left", on=["run_id", "measure"])
    theirs = paper.published("state_copying").rename(columns={"rouge_l": "score", "mean_layers": "mean_exit_layer"})
    theirs = theirs.assign(source=PUBLISHED, task="cnndm", quality="ROUGE-L", group="", run_id="")
    tasks = {task: number for number, task in enumerate(dict.fromkeys([*ours["task"], "cnndm"]))}
    table = pd.concat([ours, theirs], ignore_index=True)
    places = {way: place for place, way in enumerate(WAYS)}
    table = table.assign(_way=table["state_copying"].map(places).fillna(len(WAYS)), _task=table["task"].map(tasks))
    table = table.sort_values(["_way", "_task", "source"], ascending=[True, True, False], kind="stable")
    columns = ["task", "state_copying", "source", "group", "run_id", "n", "quality", "score", "score_low", "score_high"]
    columns += [
        "lost",
        "lost_low",
        "lost_high",
        "similarity",
        "mean_exit_layer",
        "mean_exit_layer_low",
        "mean_exit_layer_high",
    ]
    return table[columns].reset_index(drop=True)


def _lost(generations: pd.DataFrame) -> pd.DataFrame:
    """What the oracle's texts lose to the full model's of the same run and example, with Student's interval."""
    scores = generations.pivot(index=["run_id", "example"], columns="measure", values="score")
    found = []
    for run_id, pairs in scores.groupby(level="run_id"):
        lost = 100 * (pairs["full"] - pairs["oracle"]).to_numpy(np.float64)
        found.append((run_id, "oracle", lost.mean(), *of_mean(lost)))
    return pd.DataFrame(found, columns=["run_id", "measure", "lost", "lost_low", "lost_high"])


def state_copying_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed, text cells; empty where nothing is known."""
    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "skipped layers": table["state_copying"].replace({"full": "none (full model)"}),
            "task": table["task"],
            "source": table["source"],
            "score": [f"{row['quality']} {with_interval(row, 'score')}" for row in rows],
            "lost": [with_interval(row, "lost") for row in rows],
            "similarity": ["" if pd.isna(value) else f"{100 * value:.1f}" for value in table["similarity"]],
            "layers": [with_interval(row, "mean_exit_layer") for row in rows],
        }
    )


def state_copying_note(table: pd.DataFrame, similarity: str) -> str:
    """What stands under the printed table."""
    n = int(table.loc[table["source"] == OURS, "n"].max())
    return (
        f"Oracle exits: each token leaves at the first layer that agrees with the last. n = {n} examples, 95% "
        f"intervals over them. lost: {similarity} to the references, 0..100, by which the full model's text of an "
        "example is ahead; its interval is of paired differences. similarity: mean, to the full model's text, 0..100. "
        "true_state: what the skipped layers would have left, so no error of copying. Rows marked published: "
        f"{paper.source('state_copying')}"
    )


def _of(records: Records) -> Table:
    frontier = records.frontier
    texts = records.generations(frontier[frontier["measure"].isin(("full", "oracle"))])
    table = state_copying(frontier, records.setting("state_copying"), records.runs, texts)
    return Table(table, state_copying_shown(table), state_copying_note(table, records.similarity))


OUTPUTS = (
    Output(
        "state-copying", "What copying states costs", "section 3.3.1", _of, scopes.named("state_copying"),
        asked_by("state_copying"),
    ),
)  # fmt: skip
