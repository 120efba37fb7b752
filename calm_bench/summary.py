"""A finished record as the lines that a person reads at the end of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calm_bench.records.store import Run

LEGEND = (
    "layers and score: over all examples, which also calibrated; seconds: one text at batch 1, encoder included;",
    "broken: random splits whose held-out mean loss exceeded δ, out of all (the promise allows a share of ε).",
)


def lines(run: Run) -> list[str]:
    """The certified rules as a table, the speed comparison if there is one, and the promises in words."""
    about = run.info["summary"]
    frontier, certificates = run.read("frontier"), run.read("certificates")
    title = f"{run.info['name']}: {about['n']} examples, {about['layers']} decoder layers; score: {about['quality']}"
    issued = certificates[certificates["trial"].isna()]
    promises = [
        text for text, threshold in zip(run.info["promises"], issued["threshold"], strict=True) if pd.notna(threshold)
    ]
    kept_by_full = len(issued) - len(promises)
    return [
        title,
        "",
        *_table(_certified(certificates, frontier)),
        "",
        *LEGEND,
        "",
        *_speed(about["speed"]),
        *(f"promise: {text}" for text in promises),
        *([f"no threshold was certified for {kept_by_full} of {len(issued)} promises"] if kept_by_full else []),
    ]


def _certified(certificates: pd.DataFrame, frontier: pd.DataFrame) -> list[list[str]]:
    rows = [["measure", "objective", "δ", "threshold", "layers", "score", "seconds", "speedup", "broken"]]
    full = frontier[frontier["measure"] == "full"].iloc[0]
    rows.append(["full model", "", "", "", *_rule(full), ""])
    for _, row in certificates[certificates["trial"].isna()].iterrows():
        same = frontier["measure"].eq(row["measure"]) & frontier["threshold"].eq(row["threshold"])
        rule = full if pd.isna(row["threshold"]) else frontier[same].iloc[0]
        threshold = "full model" if pd.isna(row["threshold"]) else f"{row['threshold']:g}"
        what = [row["measure"], row["objective"], f"{row['delta']:g}", threshold]
        rows.append([*what, *_rule(rule), _broken(certificates, row)])
    return rows


def _rule(point: pd.Series) -> list[str]:
    seconds = "" if pd.isna(point["seconds"]) else f"{point['seconds']:.4f}"
    speedup = "" if pd.isna(point["speedup"]) else f"{point['speedup']:.2f}"
    return [f"{point['mean_exit_layer']:.2f}", f"{point['score']:.1f}", seconds, speedup]


def _broken(certificates: pd.DataFrame, row: pd.Series) -> str:
    names = ["objective", "delta", "measure", "method"]
    trials = certificates[(certificates[names] == row[names]).all(axis=1) & certificates["trial"].notna()]
    return f"{(trials['test_loss'] > row['delta']).sum()}/{len(trials)}" if len(trials) else ""


def _speed(comparisons: list[dict[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    rows = [["seconds of", "ratio", "95% interval", "n", "layers"]]
    rows += [
        [
            row["comparison"],
            f"{row['ratio']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['n']}",
            f"{row['mean_exit_layer']:.2f}",
        ]
        for row in comparisons
    ]
    return [*_table(rows), ""]


def _table(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
