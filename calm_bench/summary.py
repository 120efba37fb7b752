"""A finished record as the lines that a person reads at the end of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calm_bench.calibration.promise import promise
from calm_bench.records.rules import named
from calm_bench.records.store import Run

LEGEND = (
    "layers and score: over all examples, which also calibrated; seconds: one text at batch 1, encoder included;",
    "broken: share of the random splits whose held-out mean loss exceeded δ. A promise allows a share of ε, and finite",
    "held-out parts allow somewhat more. Where ε is empty, the method gives no such probability.",
)

ARM_RATIOS = {"/ full": "full", "/ CTranslate2": "peer", "/ ideal": "ideal"}
SPEED_LEGEND = (
    "seconds over the full model's, over CTranslate2's in float32, and over static exits at the same mean layer;",
    "GB/s: weights read, and their share of the speed at which this machine reads memory of that size.",
)


def lines(run: Run) -> list[str]:
    """The certified rules as a table, the speed comparison if there is one, and the promises in words."""
    return [
        title(run),
        "",
        *table(run, issued(run)),
        "",
        *_beside(run.info["summary"].get("beside", []), run.read("rules")),
        *speed_lines(run.info["summary"]["speed"], run.info["summary"].get("grids", [])),
        *_precision(run),
        *in_words(issued(run)),
    ]


def title(run: Run) -> str:
    """What the run is about, and which metrics its scores and losses are."""
    about = run.info["summary"]
    return (
        f"{run.info['name']}: {about['n']} examples, {about['layers']} decoder layers; "
        f"score: {about['quality']}; losses by: {about['similarity']}"
    )


def issued(run: Run) -> pd.DataFrame:
    """The certificates made on all examples, with the column promise: one sentence each."""
    certificates = named(run.read("certificates"), run.read("rules"))
    rows = certificates[certificates["trial"].isna()]
    return rows.assign(promise=[_promise(row) for _, row in rows.iterrows()])


def table(run: Run, certificates: pd.DataFrame) -> list[str]:
    """The full model, a line for each of these certificates, and the legend."""
    frontier = named(run.read("frontier"), run.read("rules"))
    return [*_aligned(_certified(certificates, run.read("certificates"), frontier)), "", *LEGEND]


def in_words(certificates: pd.DataFrame) -> list[str]:
    """The promise of each certified threshold, and how many promises only the full model keeps."""
    kept = certificates[certificates["threshold"].notna()]
    by_full = len(certificates) - len(kept)
    lacking = f"no threshold was certified for {by_full} of {len(certificates)} promises"
    return [*(f"promise: {text}" for text in kept["promise"]), *([lacking] if by_full else [])]


def _promise(row: pd.Series) -> str:
    return promise(
        row["guarantee"],
        objective=row["objective"],
        delta=row["delta"],
        epsilon=row["epsilon"],
        measure=row["measure"],
        n=row["n_calibration"],
        threshold=None if pd.isna(row["threshold"]) else row["threshold"],
    )


def _certified(issued: pd.DataFrame, certificates: pd.DataFrame, frontier: pd.DataFrame) -> list[list[str]]:
    full = frontier[frontier["measure"] == "full"].iloc[0]
    rows = [
        ["measure", "objective", "method", "δ", "threshold", "layers", "score", "seconds", "speedup", "ε", "broken"],
        ["full model", "", "", "", "", *_rule(full), "", ""],
    ]
    for _, row in issued.iterrows():
        rule = frontier[frontier["rule"] == row["rule"]].iloc[0]
        threshold = "full model" if pd.isna(row["threshold"]) else f"{row['threshold']:g}"
        what = [row["measure"], row["objective"], row["method"], f"{row['delta']:g}", threshold]
        sure = row["guarantee"] == "probability"
        rows.append([*what, *_rule(rule), f"{row['epsilon']:g}" if sure else "", _broken(certificates, row)])
    return rows


def _rule(point: pd.Series) -> list[str]:
    seconds = "" if pd.isna(point["seconds"]) else f"{point['seconds']:.4f}"
    speedup = "" if pd.isna(point["speedup"]) else f"{point['speedup']:.2f}"
    return [f"{point['mean_exit_layer']:.2f}", f"{point['score']:.1f}", seconds, speedup]


def _broken(certificates: pd.DataFrame, row: pd.Series) -> str:
    names = ["objective", "delta", "epsilon", "measure", "method"]
    trials = certificates[(certificates[names] == row[names]).all(axis=1) & certificates["trial"].notna()]
    broken = trials["test_loss"] > row["delta"]
    return f"{broken.mean():.2f} ({broken.sum()}/{len(trials)})" if len(trials) else ""


def _beside(entries: list[dict[str, Any]], rules: pd.DataFrame) -> list[str]:
    if not entries:
        return []
    rows = [["score, 95% interval", *dict.fromkeys(entry["metric"] for entry in entries)]]
    for rule, name in zip(rules["rule"], rules["name"], strict=True):
        if own := [entry for entry in entries if entry["rule"] == rule]:
            cells = (f"{entry['score']:.1f} ({entry['low']:.1f} to {entry['high']:.1f})" for entry in own)
            rows.append(["full model" if name == "full" else name, *cells])
    return [*_aligned(rows), ""]


def speed_lines(arms: list[dict[str, Any]], grids: list[dict[str, Any]]) -> list[str]:
    """The seconds of each arm, where more was timed than the rules alone."""
    blocks = []
    if any(arm["over_ideal"] == arm["over_ideal"] or arm["arm"] == "generate()" for arm in arms):
        rows = [["one text", "executor", "layers", "ms", "encoder", *ARM_RATIOS, "GB/s", "of read", "same texts"]]
        rows += [
            [
                arm["arm"],
                arm["executor"],
                f"{arm['mean_exit_layer']:.2f}",
                f"{arm['milliseconds']:.2f}",
                _known(arm["encoder_milliseconds"], ".2f"),
                *(_known(arm[f"over_{what}"], ".3f") for what in ARM_RATIOS.values()),
                _known(arm["gb_per_second"], ".1f"),
                _known(arm["bandwidth_share"], ".0%"),
                _known(arm["same_texts"], ".1%"),
            ]
            for arm in arms
        ]
        blocks += [*_aligned(rows), "", *SPEED_LEGEND, ""]
    if grids:
        rows = [["one by one / grid", "ratio", "95% interval", "batches"]]
        rows += [
            [row["measure"], f"{row['ratio']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}", f"{row['n']}"]
            for row in grids
        ]
        blocks += [*_aligned(rows), ""]
    return blocks


def _known(value: float | None, form: str) -> str:
    return "" if value is None or value != value else format(value, form)


def _precision(run: Run) -> list[str]:
    """What a model that is not held in float32 has changed; a record of a model that is says nothing."""
    if (agreement := run.info["summary"].get("float32_agreement")) is None:
        return []
    held, n = run.info["config"]["model"]["dtype"], agreement["n"]
    texts = f"{agreement['texts']:.1%} of the texts of {n} examples under all rules are those of float32"
    return [f"{held}: {texts}, and {agreement['exit_layers']:.1%} of the exit layers in them", ""]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
