"""A finished record as the lines that a person reads at the end of a run."""

from __future__ import annotations

import pandas as pd

from calm_bench.calibration import METHODS, smallest_n
from calm_bench.calibration.promise import STATIC, promise
from calm_bench.console import aligned, folded
from calm_bench.records.rules import named
from calm_bench.records.store import Run

LEGEND = (
    "layers, score (95%): of the texts that calibrated; ms: a text at batch 1; "
    "held out: mean loss (of {} splits above δ)"
)


def lines(run: Run) -> list[str]:
    """The question, the answer for each tolerance, the rules that matter, and what the others lack."""
    certificates = _own(issued(run))
    return [
        *title(run),
        *answers(run, certificates),
        "",
        *table(run, certificates),
        *_precision(run),
    ]


def title(run: Run) -> list[str]:
    """What was asked, and of what."""
    about, name = run.info["summary"], run.info["name"]
    what = f"{about['n']} examples, {about['layers']} decoder layers"
    metrics = f"score {about['quality']}, losses by {about['similarity']}"
    baseline = about.get("trivial")
    beside = f"; {baseline['name']}: {baseline['score']:.1f}" if baseline else ""
    return [str(run.info["config"].get("question") or name), f"{name}: {what}, {metrics}{beside}"]


def issued(run: Run) -> pd.DataFrame:
    """The certificates made on all examples, with the column promise: one sentence each."""
    certificates = named(run.read("certificates"), run.read("rules"))
    rows = certificates[certificates["trial"].isna()]
    return rows.assign(promise=[_promise(row) for _, row in rows.iterrows()])


def _own(certificates: pd.DataFrame) -> pd.DataFrame:
    """Those that the run itself issued, by one method at one ε; `calm_bench.certify` shows what it adds."""
    settings = certificates[["method", "epsilon"]]
    return certificates[(settings == settings.iloc[0]).all(axis=1)] if len(certificates) else certificates


def answers(run: Run, certificates: pd.DataFrame) -> list[str]:
    """For each objective and tolerance the quickest rule that these certificates allow, with its numbers.

    Where the full model is no better than what takes no model to write, that is said instead.
    """
    if words := _not_better_than_trivial(run):
        return [words]
    frontier = named(run.read("frontier"), run.read("rules")).set_index("rule", drop=False)
    quality, layers = run.info["summary"]["quality"], run.info["summary"]["layers"]
    full = frontier[frontier["measure"] == "full"].iloc[0]
    sentences = []
    for _, rows in certificates.groupby(["objective", "delta", "epsilon", "method"], sort=False):
        early = frontier.loc[sorted(set(rows.loc[rows["threshold"].notna(), "rule"]))]
        if not len(early):
            sentences.append(f"{_tolerance(rows.iloc[0])}: the full model; {_shortest_reason(rows, frontier)}")
            continue
        timed = early["speedup"].notna().all()
        best = early.sort_values("speedup", ascending=False).iloc[0] if timed else _fewest_layers(early)
        sentences.append(
            f"{_tolerance(rows.iloc[0])}: {_called(best)}, {best['mean_exit_layer']:.2f} of {layers} layers, "
            f"{_faster(best)}{quality} {best['score']:.1f} ({best['score_low']:.1f} to {best['score_high']:.1f}) "
            f"against {full['score']:.1f}"
        )
    return list(map(folded, sentences))


def _not_better_than_trivial(run: Run) -> str:
    baseline = run.info["summary"].get("trivial")
    if not baseline or baseline["beaten"]:
        return ""
    low, high = baseline["ahead_low"], baseline["ahead_high"]
    ahead = f"{run.info['summary']['quality']} ahead by {baseline['ahead']:.1f} ({low:.1f} to {high:.1f})"
    return f"the full model does not beat {baseline['name']} ({ahead}): what is certified below is not worth much"


def _tolerance(row: pd.Series) -> str:
    """What is certified; `_terms` says how surely."""
    return f"{row['objective']} δ = {row['delta']:g}"


def _fewest_layers(rules: pd.DataFrame) -> pd.Series:
    return rules.sort_values("mean_exit_layer").iloc[0]


def _called(rule: pd.Series) -> str:
    """A rule as a sentence calls it."""
    if rule["measure"] == "full":
        return "full model"
    if rule["measure"] == STATIC:
        return f"static, layer {rule['threshold']:g}"
    return str(rule["measure"]) if pd.isna(rule["threshold"]) else f"{rule['measure']} λ = {rule['threshold']:g}"


def _faster(rule: pd.Series) -> str:
    """How many times faster than the full model, or slower; nothing where it was not timed."""
    if pd.isna(rule["speedup"]):
        return ""
    if rule["speedup"] < 1:
        return f"slower ({rule['speedup']:.2f} times the speed), "
    return f"{rule['speedup']:.2f} times faster, "


def _shortest_reason(rows: pd.DataFrame, rules: pd.DataFrame) -> str:
    """Why no rule keeps a promise: of all measures the one that came nearest."""
    nearest = rows.sort_values("nearest_delta").iloc[0]
    return f"{nearest['measure']}: {_reason(nearest, rules)}"


def table(run: Run, certificates: pd.DataFrame) -> list[str]:
    """The full model, the quickest lossless rule, and for each tolerance the rules that matter, a line each."""
    rules = run.read("rules")
    frontier = named(run.read("frontier"), rules).set_index("rule", drop=False)
    drafting = frontier["measure"] == "speculative"
    frontier["measure"] = frontier["measure"].mask(drafting, rules.set_index("rule")["name"])  # with layer and drafts
    every = run.read("certificates")
    allowed = certificates[certificates["threshold"].notna()]
    lossless = _lossless(run, frontier)
    shown = _that_matter(allowed, frontier)
    chosen = [lossless, *(rule for _, rule in frontier.iterrows() if rule["rule"] in shown)]
    rows = [["rule", "layers", "score", "ms", "speedup", "certified for δ", "held out"]]
    full = frontier[frontier["measure"] == "full"].iloc[0]
    for rule in [full, *(rule for rule in chosen if rule["rule"] != full["rule"])]:
        own = allowed[allowed["rule"] == rule["rule"]]
        kept = [f"{objective} {_list(part['delta'])}" for objective, part in own.groupby("objective", sort=False)]
        held = [_held_out(every, row) for _, row in own.iterrows()]
        rows.append([_called(rule), *_rule(rule), "; ".join(kept), "; ".join(held)])
    below = [*_fixed(allowed, frontier), *_slower(run, lossless, frontier, shown)]
    about = [LEGEND.format(every["trial"].nunique()), *_terms(certificates), *_kept_by_full(certificates)]
    return [*aligned(rows), *map(folded, [*below, *about])]


def _that_matter(allowed: pd.DataFrame, frontier: pd.DataFrame) -> set[int]:
    """Of each tolerance the quickest rule and the one of fewest layers."""
    points = allowed[["objective", "delta", "rule"]].merge(
        frontier[["measure", "mean_exit_layer", "speedup"]], left_on="rule", right_index=True
    )
    groups = ["objective", "delta"]
    quickest = points.dropna(subset="speedup").groupby(groups)["speedup"].idxmax()  # none where nothing was timed
    shallowest = points.groupby(groups)["mean_exit_layer"].idxmin()
    return set(points.loc[[*quickest, *shallowest], "rule"])


def _fixed(allowed: pd.DataFrame, frontier: pd.DataFrame) -> list[str]:
    """One line for the fixed layers that keep a promise: what a measure must beat."""
    kept = []
    for _, row in allowed[allowed["measure"] == STATIC].iterrows():
        rule = frontier.loc[row["rule"]]
        speedup = "" if pd.isna(rule["speedup"]) else f" ({rule['speedup']:.2f})"
        kept.append(f"{row['objective']} {row['delta']:g}: {rule['threshold']:g}{speedup}")
    return [f"a fixed layer, to be beaten (speedup): {'; '.join(kept)}"] if kept else []


def _lossless(run: Run, frontier: pd.DataFrame) -> pd.Series:
    """The quickest rule whose texts are the full model's: itself, or one that drafts and verifies."""
    rules = run.read("rules")
    same = frontier.loc[rules.loc[rules["kind"].isin(["full", "speculative"]), "rule"]]
    return same.sort_values("seconds", kind="stable").iloc[0]


def _slower(run: Run, lossless: pd.Series, frontier: pd.DataFrame, certified: set[int]) -> list[str]:
    """Which of these and of the speculative rules are slower than the one that loses nothing, and what that one is."""
    rules = run.read("rules")
    drafting = set(rules.loc[rules["kind"] == "speculative", "rule"])
    shown = frontier.loc[sorted(certified | drafting)]
    slower = [
        f"{_called(rule)}{' (the same text)' if rule['rule'] in drafting else ''}"
        for _, rule in shown.iterrows()
        if rule["seconds"] > lossless["seconds"]
    ]
    drafts = speculation(frontier, rules[rules["rule"] == lossless["rule"]])  # none where it is the full model
    if not slower:
        return drafts
    than = f"{drafts[0]}; slower:" if drafts else f"slower than {_called(lossless)}, which loses nothing:"
    return [f"{than} {', '.join(slower)}"]


def speculation(frontier: pd.DataFrame, rules: pd.DataFrame) -> list[str]:
    """What each speculative rule kept of its drafts."""
    depth = frontier.loc[frontier["measure"] == "full", "mean_exit_layer"].iloc[0]
    lines = []
    for _, rule in rules[rules["kind"] == "speculative"].iterrows():
        layers = frontier.loc[frontier["rule"] == rule["rule"], "mean_exit_layer"].iloc[0]
        kept = depth * (rule["drafts"] + 1) / layers - 1  # a verification runs all layers for each draft and one token
        lines.append(f"{rule['name']}: the full model's text, {kept:.2f} of {rule['drafts']:g} drafts kept")
    return lines


def _list(deltas: pd.Series) -> str:
    return ", ".join(f"{delta:g}" for delta in deltas)


def _kept_by_full(certificates: pd.DataFrame) -> list[str]:
    """One line for all promises that only the full model keeps."""
    lacking = certificates[certificates["threshold"].isna()]
    if not len(lacking):
        return []
    tolerances: dict[str, list[str]] = {}
    for (objective, delta), rows in lacking.groupby(["objective", "delta"], sort=False):
        tolerances.setdefault(", ".join(rows["measure"]), []).append(f"{objective} {delta:g}")
    groups = "; ".join(f"{', '.join(kept)} ({measures})" for measures, kept in tolerances.items())
    return [f"full model for {len(lacking)} of {len(certificates)} promises (the report says why): {groups}"]


def _reason(row: pd.Series, rules: pd.DataFrame) -> str:
    """Why only the full model keeps a promise, and which tolerance would have been certified."""
    text = ""
    method = METHODS.get(row["method"])
    needed = smallest_n(method, row["delta"], row["epsilon"] / row["together"]) if method else 1
    if needed is None or needed > row["n_calibration"]:
        text = f"n = {row['n_calibration']} cannot certify it ({needed or 'over a million'} needed); "
    if pd.isna(row["nearest_delta"]):
        return f"{text}no δ below 1 would have been certified"
    rule = rules.loc[row["nearest_rule"]]
    at = _threshold(rule)
    if row["measure"] != STATIC:
        at = f"threshold {at}, {rule['mean_exit_layer']:.2f} layers"
    return f"{text}nearest certified δ = {row['nearest_delta']:g} ({at})"


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


def _terms(certificates: pd.DataFrame) -> list[str]:
    """By which method it is promised, how surely, and of what n counts."""
    lines = []
    for (method, guarantee, epsilon, together), _ in certificates.groupby(
        ["method", "guarantee", "epsilon", "together"], sort=False
    ):
        if guarantee != "probability":
            words = "the loss expected is at most δ" if guarantee == "expectation" else "nothing about later texts"
        elif together == 1:
            words = f"each by itself, ε = {epsilon:g}; together they hold less surely (calibration.joint=true)"
        else:
            words = f"all {together} at once, ε = {epsilon:g}"
        lines.append(f"promised by {method}: {words}")
    units = sorted(set(certificates["unit"]) - {"example"})
    return [*lines, *(f"n and held-out losses: of {unit}s" for unit in units)]


def _threshold(row: pd.Series) -> str:
    return f"layer {row['threshold']:g}" if row["measure"] == STATIC else f"{row['threshold']:g}"


def _rule(point: pd.Series) -> list[str]:
    score = f"{point['score']:.1f} ({point['score_low']:.1f} to {point['score_high']:.1f})"
    milliseconds = "" if pd.isna(point["seconds"]) else f"{1000 * point['seconds']:.2f}"
    slower = " (slower)" if point["speedup"] < 1 else ""
    speedup = "" if pd.isna(point["speedup"]) else f"{point['speedup']:.2f}{slower}"
    return [f"{point['mean_exit_layer']:.2f}", score, milliseconds, speedup]


def _held_out(certificates: pd.DataFrame, row: pd.Series) -> str:
    """The mean loss on held-out parts, and in how many splits it was above δ."""
    names = ["objective", "delta", "epsilon", "measure", "method", "unit", "together"]
    trials = certificates[(certificates[names] == row[names]).all(axis=1) & certificates["trial"].notna()]
    if not len(trials):
        return ""
    return f"{trials['test_loss'].mean():.3f} ({(trials['test_loss'] > row['delta']).sum()})"


def _precision(run: Run) -> list[str]:
    """What a model that is not held in float32 has changed; a record of a model that is says nothing."""
    if (agreement := run.info["summary"].get("float32_agreement")) is None:
        return []
    held, n = run.info["config"]["model"]["dtype"], agreement["n"]
    texts = f"{agreement['texts']:.1%} of the texts of {n} examples under all rules are those of float32"
    return [f"{held}: {texts}, and {agreement['exit_layers']:.1%} of the exit layers in them", ""]
