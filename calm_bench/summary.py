"""A finished record as the lines that a person reads at the end of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from calm_bench.calibration import METHODS, held_out, smallest_n
from calm_bench.calibration.promise import STATIC, promise
from calm_bench.records.rules import named
from calm_bench.records.store import Run

LEGEND = (
    "layers and score: over all examples, which also calibrated; seconds: one text at batch 1, encoder included;",
    "held out: mean loss on the held-out parts of random splits, 95% interval; above δ: splits whose own mean was.",
    "Splits share examples and their parts are small, so that this count is not the share ε of promises that may fail.",
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
        *lossless(named(run.read("frontier"), run.read("rules")), run.read("rules"), issued(run)),
        *_beside(run.info["summary"].get("beside", []), run.read("rules")),
        *speed_lines(run.info["summary"]["speed"], run.info["summary"].get("grids", [])),
        *_precision(run),
        *in_words(run, issued(run)),
        *slower(run, issued(run)),
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
    rows = _certified(certificates, run.read("certificates"), frontier)
    return [*_aligned(rows), "", *LEGEND, *_kinds(certificates)]


def in_words(run: Run, certificates: pd.DataFrame) -> list[str]:
    """The promise of each certified threshold, and why the others have none."""
    by_full = certificates[certificates["threshold"].isna()]
    words = [f"promise: {text}" for text in certificates.loc[certificates["threshold"].notna(), "promise"]]
    if len(by_full):
        rules = named(run.read("frontier"), run.read("rules")).set_index("rule")
        words.append(f"no threshold was certified for {len(by_full)} of {len(certificates)} promises:")
        words += [f"  {row['measure']}, {_reason(row, rules)}" for _, row in by_full.iterrows()]
    if by_full["nearest_delta"].notna().any():
        words.append("(a nearest δ is a hint for other examples: chosen after the losses were seen, it is no promise)")
    return words


def _reason(row: pd.Series, rules: pd.DataFrame) -> str:
    """Why only the full model keeps a promise, and which tolerance would have been certified."""
    text = f"{row['objective']} δ = {row['delta']:g}: "
    method = METHODS.get(row["method"])
    needed = smallest_n(method, row["delta"], row["epsilon"] / row["together"]) if method else 1
    if needed is None or needed > row["n_calibration"]:
        text += f"n = {row['n_calibration']} cannot certify it ({needed or 'over a million'} needed); "
    if pd.isna(row["nearest_delta"]):
        return f"{text}no δ below 1 would have been certified"
    rule = rules.loc[row["nearest_rule"]]
    at = f"{'' if row['measure'] == STATIC else 'threshold '}{_threshold(rule)}, {rule['mean_exit_layer']:.2f} layers"
    return f"{text}nearest certified δ = {row['nearest_delta']:g} ({at})"


def lossless(frontier: pd.DataFrame, rules: pd.DataFrame, certificates: pd.DataFrame) -> list[str]:
    """What the speculative rules cost, and which certified ones are slower than the best rule that loses nothing."""
    points = frontier.merge(rules[["rule", "kind", "name", "drafts"]], on="rule")
    drafting, full = points[points["kind"] == "speculative"], points[points["kind"] == "full"].iloc[0]
    if drafting.empty:
        return []
    rows = [["lossless", "drafts kept", "layers run", "score", "seconds", "speedup"]]
    for _, point in drafting.iterrows():
        written = full["mean_exit_layer"] * (point["drafts"] + 1) / point["mean_exit_layer"]  # tokens a verification
        rows.append([point["name"], f"{written - 1:.2f} of {point['drafts']:g}", *_rule(point)])
    best = min([full, *(row for _, row in drafting.iterrows())], key=lambda point: point["seconds"])
    certified = points[points["rule"].isin(certificates["rule"])]
    slower = certified.loc[certified["seconds"] > best["seconds"], "name"]
    return [*_aligned(rows), *(f"{name} is slower than {best['name']}, which loses nothing" for name in slower), ""]


def slower(run: Run, certificates: pd.DataFrame) -> list[str]:
    """A line for each of these rules that took more seconds than the full model: it saves layers alone."""
    points = run.read("frontier").merge(run.read("rules")[["rule", "name"]], on="rule")
    rows = points[points["rule"].isin(certificates["rule"]) & (points["speedup"] < 1)]
    return [
        f"slower than the full model here: {name} takes {1 / speedup:.2f} of its seconds for {layers:.2f} layers"
        for name, speedup, layers in zip(rows["name"], rows["speedup"], rows["mean_exit_layer"], strict=True)
    ]


def _promise(row: pd.Series) -> str:
    return promise(
        row["guarantee"],
        objective=row["objective"],
        delta=row["delta"],
        epsilon=row["epsilon"],
        measure=row["measure"],
        n=row["n_calibration"],
        threshold=None if pd.isna(row["threshold"]) else row["threshold"],
        unit=row["unit"],
        together=row["together"],
    )


def _kinds(certificates: pd.DataFrame) -> list[str]:
    """Which promises share an ε, and of what n counts."""
    sure = certificates[certificates["guarantee"] == "probability"]
    texts = {
        "ε: of each promise by itself; all of them together hold less surely (calibration.joint=true)"
        if together == 1
        else f"ε: of all {together} promises at once"
        for together in sure["together"].unique()
    }
    units = sorted(set(certificates["unit"]) - {"example"})
    return [*sorted(texts), *(f"n and held-out losses: of {unit}s" for unit in units)]


def _certified(issued: pd.DataFrame, certificates: pd.DataFrame, frontier: pd.DataFrame) -> list[list[str]]:
    full = frontier[frontier["measure"] == "full"].iloc[0]
    head = ["measure", "objective", "method", "δ", "ε", "threshold", "layers", "score", "seconds", "speedup"]
    rows = [[*head, "held out", "above δ"], ["full model", "", "", "", "", "", *_rule(full), "", ""]]
    for _, row in issued.iterrows():
        rule = frontier[frontier["rule"] == row["rule"]].iloc[0]
        epsilon = f"{row['epsilon']:g}" if row["guarantee"] == "probability" else ""
        what = [row["measure"], row["objective"], row["method"], f"{row['delta']:g}", epsilon, _threshold(row)]
        rows.append([*what, *_rule(rule), *_held_out(certificates, row)])
    return rows


def _threshold(row: pd.Series) -> str:
    if pd.isna(row["threshold"]):
        return "full model"
    return f"layer {row['threshold']:g}" if row["measure"] == STATIC else f"{row['threshold']:g}"


def _rule(point: pd.Series) -> list[str]:
    seconds = "" if pd.isna(point["seconds"]) else f"{point['seconds']:.4f}"
    speedup = "" if pd.isna(point["speedup"]) else f"{point['speedup']:.2f}"
    return [f"{point['mean_exit_layer']:.2f}", f"{point['score']:.1f}", seconds, speedup]


def _held_out(certificates: pd.DataFrame, row: pd.Series) -> list[str]:
    """The mean loss on held-out parts with its interval, and in how many splits it was above δ."""
    names = ["objective", "delta", "epsilon", "measure", "method", "unit", "together"]
    trials = certificates[(certificates[names] == row[names]).all(axis=1) & certificates["trial"].notna()]
    if not len(trials):
        return ["", ""]
    found = held_out(trials["test_loss"], int(trials["n_calibration"].iloc[0]), int(row["n_calibration"]))
    interval = f" ({max(found.low, 0):.3f} to {found.high:.3f})" if found.low < found.high else ""
    return [f"{found.mean:.3f}{interval}", f"{(trials['test_loss'] > row['delta']).sum()}/{len(trials)}"]


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
            [row["measure"], f"{row['ratio']:.2f}", " to ".join(filter(None, bounds)), f"{row['n']}"]
            for row in grids
            for bounds in [[_known(row[end], ".2f") for end in ("low", "high")]]
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
