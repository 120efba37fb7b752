"""What one wrong token does to the rest of a text (Fig. 2a of the paper)."""

from analysis.answers.answer import Answer, Estimate, Question, tally
from analysis.load import Records
from calm_bench.errors import InputError

LEAST = 10
"""Texts that must reach a step for it to be shown."""


def answer(part: Records) -> Answer:
    """Similarity to the full model's text by the step of the wrong token, for both kinds of it.

    Raises:
        InputError: no run was asked for the probe perturbation, or no step is reached by enough texts.
    """
    probe = part.probe("perturbation")
    rows = probe[probe["n"] >= LEAST] if len(probe) else probe
    if not len(rows):
        raise InputError(f"no step of a text is reached by {LEAST} texts (probes=[perturbation])")
    steps = sorted(rows["step"].unique())
    kinds = {kind: of_kind.set_index("step") for kind, of_kind in rows.groupby("kind")}
    sampled, layer = kinds["sampled"], kinds["layer"]
    n = int(rows["n"].max())
    shown = [["wrong token at", "texts", "tenth-ranked token", "first layer's token", "which differs in", "score full"]]
    for step in steps:
        shown.append(
            [
                f"position {step + 1}",
                f"{sampled.loc[step, 'n']}",
                *(Estimate.of(of_kind.loc[step], "similarity", 100).shown(".1f") for of_kind in (sampled, layer)),
                f"{layer.loc[step, 'changed']:.0%}",
                f"{100 * sampled.loc[step, 'score_full']:.1f} to {100 * sampled.loc[step, 'score']:.1f}",
            ]
        )
    early, late = (Estimate.of(sampled.loc[step], "similarity", 100) for step in (steps[0], steps[-1]))
    milder = [
        Estimate.of(layer.loc[step], "similarity", 100) - Estimate.of(sampled.loc[step], "similarity", 100)
        for step in steps
    ]
    above, below, verdict = tally(milder, n)
    by_place = (
        f"an early error costs more: after one at position {steps[0] + 1} the text is {early.value:.1f} "
        f"{part.similarity} like the full model's, at position {steps[-1] + 1} {late.value:.1f}, "
        f"{(late - early).shown('.1f')} more: {(late - early).verdict(n)}"
    )
    by_kind = (
        f"a first layer's token hurts less than a tenth-ranked one: surely at {above} of {len(steps)} positions, "
        f"surely more at {below}: {verdict}"
    )
    note = (
        f"{part.similarity} to the full model's text, 0 to 100 (95% interval over texts); score: to the references, "
        "without and with the tenth-ranked token; the paper gives a figure and no numbers"
    )
    return Answer((by_place, by_kind), shown, note)


QUESTION = Question(answer)
