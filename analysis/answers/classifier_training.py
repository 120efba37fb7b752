"""Which objective teaches the exit classifier better (appendix D and Table D.1 of the paper)."""

import pandas as pd

from analysis.answers.answer import Answer, Estimate, Question, tally
from analysis.load import Records
from analysis.tables.classifier_f1 import LAYERS, classifier_f1, classifier_f1_shown
from analysis.tables.origins import OURS, PUBLISHED

KEY = "training.classifier_objective"


def answer(part: Records) -> Answer:
    """F1 of "do not exit" at each layer under each objective, ours and the paper's.

    Raises:
        InputError: no run was asked for the probe classifier_f1.
    """
    table = classifier_f1(part.probe("classifier_f1"), part.setting(KEY))
    ours = table[table["source"] == OURS]
    f1 = {str(name): rows.set_index("layer") for name, rows in ours.groupby("objective")}
    n = int(ours["n"].max())
    if {"independent", "geometric"} <= f1.keys():
        first, second = f1["independent"], f1["geometric"]
        layers = [layer for layer in first.index if layer in second.index]
        ahead = [Estimate.of(first.loc[layer], "f1") - Estimate.of(second.loc[layer], "f1") for layer in layers]
        above, below, verdict = tally(ahead, n)
        mean = sum(one.value for one in ahead) / len(ahead)
        sentence = (
            f"independent against geometric: F1 {mean:+.2f} in the mean over layers 1 to {max(layers)}; surely higher "
            f"at {above} of {len(layers)} layers, surely lower at {below}: {verdict}, where it is higher at each layer"
        )
    else:
        sentence = "one objective alone; the paper: independent is better than geometric at each layer"
    marked = ours[ours["layer"].isin(LAYERS)].groupby("objective")["f1"].mean()
    published = table[table["source"] == PUBLISHED].groupby(["objective", "task"])["f1"].mean()
    levels = [
        f"{name} {marked[name]:.2f}, the paper {published[name].min():.2f} to {published[name].max():.2f}"
        for name in f1
    ]
    level = f"mean F1 at the layers of Table D.1 ({', '.join(map(str, LAYERS))}): {'; '.join(levels)}"
    note = f'F1 of "do not exit" at a cut of 0.5 (95% interval over n = {n} examples), at the layers of Table D.1'
    return Answer((sentence, level), _rows(table), note)


def _rows(table: pd.DataFrame) -> list[list[str]]:
    """The paper's layers of the printed table, which has them all, and is too wide for a terminal."""
    shown = classifier_f1_shown(table[table["layer"].isin(LAYERS)])
    counted = shown["objective"] == "-"
    shown = shown.assign(objective=shown["objective"].mask(counted, shown["value"])).drop(columns="value")
    return [[name.rstrip("*") for name in shown.columns], *([str(cell) for cell in row] for row in shown.to_numpy())]


QUESTION = Question(answer, (KEY,))
