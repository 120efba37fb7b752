"""How few layers a measure would need that always knew (section 6 and Fig. 3 of the paper)."""

import pandas as pd

from analysis import paper
from analysis.answers import paired
from analysis.answers.answer import Answer, Estimate, Question
from analysis.load import Records
from analysis.style import BASELINES
from analysis.tables.formats import with_interval
from calm_bench.errors import InputError


def answer(part: Records) -> Answer:
    """The oracle beside the full model, and beside what a measure and a fixed layer reach with half of the layers.

    Raises:
        InputError: no oracle exits.
    """
    frontier, half = part.frontier, part.layers / 2
    if not (frontier["measure"] == "oracle").any():
        raise InputError("no oracle exits to answer from (baselines=[oracle])")
    full, oracle = (frontier[frontier["measure"] == name].iloc[0] for name in ("full", "oracle"))
    shallow = frontier[frontier["mean_exit_layer"] <= half]
    best = _deepest(shallow[~shallow["measure"].isin(BASELINES)])
    static = _deepest(shallow[shallow["measure"] == "static"])
    shown = {"full model": full, "oracle": oracle}
    if best is not None:
        shown[f"{best['measure']} λ = {best['threshold']:g}"] = best
    if static is not None:
        shown[f"static, layer {static['threshold']:g}"] = static
    scores = paired.scores(part, pd.DataFrame(shown.values()))
    whole = scores[paired.key(full)]
    lost = {name: paired.mean(whole - scores[paired.key(rule)]) for name, rule in shown.items()}
    theirs = paper.published("oracle").set_index("task")["layers"]
    n, layers = int(oracle["n"]), Estimate.of(oracle.to_dict(), "mean_exit_layer")
    seen = "a loss, unlike the paper" if lost["oracle"].low > 0 else f"no loss that n = {n} can show"
    said = (
        f"a measure that always knew would need {layers.shown()} of {part.layers} layers and lose "
        f"{lost['oracle'].shown()} of {whole.mean():.1f} {part.similarity}: {seen}; the paper: {theirs.min():g} to "
        f"{theirs.max():g} of 8, without loss"
    )
    sentences = [said]
    if best is not None:
        name = f"{best['measure']} λ = {best['threshold']:g}"
        sentences.append(
            f"{name} takes {best['mean_exit_layer']:.2f} layers and loses {lost[name].shown()}; the paper: softmax "
            "halves the layers, or better, at a minor loss"
        )
        if static is not None:
            more = paired.mean(scores[paired.key(best)] - scores[paired.key(static)])
            said = f"{more.shown()} above" if more.value >= 0 else f"{(-more).shown()} below"
            sentences.append(f"that is {said} a fixed layer {static['threshold']:g}: {more.verdict(n)} (Fig. 3)")
    rows = [["rule", "layers", part.quality, f"lost {part.similarity}"]]
    rows += [
        [name, f"{rule['mean_exit_layer']:.2f}", with_interval(rule.to_dict(), "score", 1), lost[name].shown()]
        for name, rule in shown.items()
    ]
    rows += [[f"paper, {task}: oracle", f"{mean:g} of 8", "", "none"] for task, mean in theirs.items()]
    note = f"lost: {part.similarity} to the references against the full model's text of the same example (95% interval)"
    return Answer(tuple(sentences), rows, note)


def _deepest(rules: pd.DataFrame) -> "pd.Series | None":
    return None if not len(rules) else rules.sort_values("mean_exit_layer").iloc[-1]


QUESTION = Question(answer)
