"""Whether a falling threshold fills the gaps between operating points (Fig. 2c and section 3.3.2 of the paper)."""

import numpy as np
import pandas as pd

from analysis.answers import paired
from analysis.answers.answer import Answer, Estimate, Question
from analysis.load import Records
from analysis.style import BASELINES
from calm_bench.errors import InputError

CLIFF = 10.0
"""Points of textual similarity: without decay the paper saw neighbouring thresholds more than this apart."""


def answer(part: Records) -> Answer:
    """For each τ the largest step between two neighbouring thresholds.

    Raises:
        InputError: no measure at two thresholds, in a run with threshold.tau set.
    """
    points = part.frontier[~part.frontier["measure"].isin(BASELINES)]
    points = points.assign(tau=pd.to_numeric(points["run_id"].map(part.setting("threshold.tau"))))
    points = points[points["tau"].notna()]
    if points.groupby(["run_id", "measure"]).size().max() < 2 or not len(points):
        raise InputError("no measure at several thresholds, with threshold.tau set")
    rows = [["decay", "thresholds", "operating points", "layers", "largest step", "between λ"]]
    steps: dict[float, Estimate] = {}
    for _, grid in points.groupby(["tau", "measure"]):
        grid = grid.sort_values("threshold", ascending=False)
        tau, measure = float(grid["tau"].iloc[0]), grid["measure"].iloc[0]
        place = int(np.argmax(np.abs(np.diff(grid["textual_loss"]))))
        pair = grid.iloc[place : place + 2]
        step = _apart(part, pair)
        if tau not in steps or step.value > steps[tau].value:
            steps[tau] = step
        distinct = len(grid.round(4).drop_duplicates(["mean_exit_layer", "textual_loss"]))
        layers = f"{grid['mean_exit_layer'].min():.2f} to {grid['mean_exit_layer'].max():.2f}"
        between = f"{pair['threshold'].iloc[0]:g}, {pair['threshold'].iloc[1]:g}"
        rows.append([f"{measure} τ = {tau:g}", str(len(grid)), str(distinct), layers, step.shown(".1f"), between])
    n = int(points["n"].max())
    sentences = []
    if 0.0 in steps:
        flat = steps.pop(0.0)
        sentences.append(
            f"without decay two neighbouring thresholds lie {flat.shown('.1f')} points of {part.similarity} apart; the "
            f"paper: more than {CLIFF:g}, {(flat - CLIFF).verdict(n)}"
        )
        if steps:
            tau = min(steps, key=lambda one: steps[one].value)
            less = flat - steps[tau]
            said = f"{less.shown('.1f')} less" if less.value >= 0 else f"{(-less).shown('.1f')} more"
            sentences.append(f"with decay (τ = {tau:g}, the best) {steps[tau].shown('.1f')}, {said}: {less.verdict(n)}")
    else:
        sentences += [
            f"τ = {tau:g}: neighbouring thresholds lie up to {step.shown('.1f')} points of {part.similarity} "
            f"apart; the paper: more than {CLIFF:g} without decay (τ = 0), less with it"
            for tau, step in steps.items()
        ]
    note = (
        "largest step: of similarity to the full model's text, 0 to 100, between neighbouring thresholds; its 95% "
        "interval is that of this very pair, which was picked for its size; operating points: distinct ones"
    )
    return Answer(tuple(sentences), rows, note)


def _apart(part: Records, pair: pd.DataFrame) -> Estimate:
    """By how much the texts of two rules differ in similarity to the full model's, over the same examples."""
    texts = 100 * part.generations(pair).pivot(index="example", columns="rule", values="textual_loss")
    first, second = (texts[rule] for rule in pair["rule"])
    step = paired.mean(second - first)
    return step if step.value >= 0 else -step


QUESTION = Question(answer, ("threshold.tau",))
