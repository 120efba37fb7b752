"""Whether saved layers become saved seconds, beside what a user could take instead (appendix C.1 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis import paper
from analysis.answers.answer import Answer, Estimate, Question
from analysis.load import Records
from calm_bench.cost.speed import PEER
from calm_bench.errors import InputError

Arm = Mapping[str, Any]
GENERATE = "generate()"
RATIOS = {"/ full": "full", "/ CTranslate2": "peer", "/ ideal": "ideal"}
NOTE = (
    "/ full, / CTranslate2 (float32), / ideal (static exits at the same mean layer): share of their seconds; GB/s: "
    "weights read"
)
MORE = "; {} / layers: what layers alone would gain (paper: Table 2, on a TPU); the report has all arms"


def answer(part: Records) -> Answer:
    """Of each measure what the saved layers of its last certified rule are worth in seconds; all arms in the table.

    Raises:
        InputError: no rule of a measure was timed.
    """
    run_id = str(part.runs["run_id"].iloc[0])
    summary = part.stored[run_id].record.info["summary"]
    others, measures = _that_matter(part, summary.get("speed", []))
    if not measures:
        raise InputError("no rule of a measure was timed (timing.examples above 0)")
    n = int(next(iter(measures.values()))["n"])
    sentences = [_at_full_depth(others)] if {GENERATE, PEER} & others.keys() else []
    theirs = paper.table2()
    theirs["share"] = theirs["speedup"] * theirs["layers"] / 8
    for measure, arm in measures.items():
        faster, promised = _speedup(arm), part.layers / arm["mean_exit_layer"]
        words = (
            f"{arm['arm']}: {arm['mean_exit_layer']:.2f} of {part.layers} layers, {faster.shown()} times as fast"
            f"{' (slower)' * (faster.value < 1)}, {faster.value / promised:.0%} of {part.layers} / layers"
        )
        if len(own := theirs[theirs["measure"] == measure]):
            shares = f"{own['share'].min():.0%} to {own['share'].max():.0%}"
            unsure = np.isnan(faster.low)
            words += f"; paper: {shares}" if unsure else f"; {(faster - 1.0).verdict(n)} ({shares})"
        sentences.append(words)
    if grids := [f"{row['measure']} {row['ratio']:.1f}" for row in summary.get("grids", [])]:
        sentences.append(f"a whole grid in one pass, times faster: {', '.join(grids)}")
    shown = [arm for arm in others.values() if _is_shown(arm)]
    return Answer(tuple(sentences), rows([*shown, *measures.values()]), NOTE + MORE.format(part.layers))


def _that_matter(part: Records, arms: Sequence[Arm]) -> tuple[dict[str, Arm], dict[str, Arm]]:
    """By name what asks no measure; and by measure its rule that was certified last, or its first."""
    rules = part.rules.set_index("rule_name")
    certified = set(part.certificates.loc[part.certificates["trial"].isna(), "rule"])
    others: dict[str, Arm] = {}
    measures: dict[str, Arm] = {}
    for arm in arms:
        rule = rules.loc[arm["arm"]] if arm["arm"] in rules.index else None
        if rule is None or rule["kind"] != "adaptive":
            others[arm["arm"]] = arm
        elif rule["rule"] in certified or rule["measure"] not in measures:
            measures[str(rule["measure"])] = arm
    return others, measures


def _is_shown(arm: Arm) -> bool:
    """All but static layers, which a column compares with, and an arm in another executor or width of numbers."""
    name = str(arm["arm"])
    return not name.startswith("static@") and ", " not in name


def _at_full_depth(arms: Mapping[str, Arm]) -> str:
    """What the full model's seconds are beside those of the libraries that were timed."""
    full = arms["full"]["milliseconds"]
    beside = [f"{full / arms[name]['milliseconds']:.2f} of {name}'s" for name in (PEER, GENERATE) if name in arms]
    return f"the full model takes {full:.2f} ms a text, {' and '.join(beside)}"


def _speedup(arm: Arm) -> Estimate:
    """How many times faster than the full model."""
    share = Estimate.of(arm, "over_full")
    return Estimate(1 / share.value, 1 / share.high, 1 / share.low)


def rows(arms: Sequence[Arm]) -> list[list[str]]:
    """The seconds of each arm, a row of cells, the header first."""
    table = [["one text", "executor", "layers", "ms", "encoder", *RATIOS, "GB/s", "of read", "same texts"]]
    return table + [
        [
            arm["arm"],
            arm["executor"],
            f"{arm['mean_exit_layer']:.2f}",
            f"{arm['milliseconds']:.2f}",
            _known(arm["encoder_milliseconds"], ".2f"),
            *(_known(arm[f"over_{what}"], ".3f") for what in RATIOS.values()),
            _known(arm["gb_per_second"], ".1f"),
            _known(arm["bandwidth_share"], ".0%"),
            _known(arm["same_texts"], ".1%"),
        ]
        for arm in arms
    ]


def _known(value: float | None, form: str) -> str:
    return "" if value is None or value != value else format(value, form)


QUESTION = Question(answer)
