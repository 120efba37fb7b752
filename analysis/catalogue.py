"""Every figure and table that records may allow: what it is called, what it is made of, and how."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis import plots, rules, scopes, style, tables
from analysis.example import example
from analysis.load import Records, of_rules
from analysis.plots.methods import COMPARED
from analysis.scopes import Scope
from analysis.trials import DELTAS, trials
from calm_bench.calibration.promise import OBJECTIVES, Objective
from calm_bench.errors import InputError

EPSILONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
Make = Callable[[Records], Figure | tables.Table]


@dataclass(frozen=True)
class Output:
    """A figure or table; `make` raises InputError where the records of a part do not allow it.

    stem: of its files; a part's label follows it. title: what it shows. paper: what it stands beside. scope: its parts,
    each group unless it says otherwise. absent: what is said where there is no part.
    """

    stem: str
    title: str
    paper: str
    make: Make
    scope: Scope = scopes.groups
    absent: str = ""


def _frontier(x: str) -> Make:
    return lambda part: plots.frontier(part.frontier, x, quality=_first(part, "quality"))


def _consistency(objective: Objective) -> Make:
    """The trials of the certificates, and where the texts are at hand more of them on a finer grid of delta."""

    def drawn(part: Records) -> Figure:
        own = rules.own(part.certificates)
        shown = own[own["objective"] == objective]
        with suppress(InputError):  # W&B's part of a run has no losses
            shown = trials(part, objective, deltas=sorted({*DELTAS[objective], *shown["delta"]}))
        return plots.consistency(shown, objective, similarity=_first(part, "similarity"))

    return drawn


def _exits(draw: Callable[..., Figure]) -> Make:
    def drawn(part: Records) -> Figure:
        exits = of_rules(part.exits, rules.representative(part))
        return draw(exits, int(part.runs["layers"].max()))

    return drawn


def _coloured(part: Records) -> Figure:
    tokens = example(dataclasses.replace(part, certificates=rules.own(part.certificates)))
    return plots.coloured_text(tokens, int(part.runs["layers"].max()), similarity=_first(part, "similarity"))


def _promises(part: Records) -> Figure:
    deltas = part.certificates.groupby("objective")["delta"].unique()
    again = [
        trials(part, objective, deltas=sorted(deltas[objective]), epsilons=EPSILONS)
        for objective in OBJECTIVES
        if objective in deltas
    ]
    if not again:
        raise InputError("no certificates in the runs")
    return plots.broken_promises(pd.concat(again, ignore_index=True))


def _methods(part: Records) -> Figure:
    first = style.ordered(part.rules.loc[part.rules["kind"] == "adaptive", "measure"])[:1]
    tried = [trials(part, objective, method=method, measures=first) for objective in OBJECTIVES for method in COMPARED]
    return plots.compare_methods(pd.concat(tried, ignore_index=True))


def _decay_points(part: Records) -> Figure:
    tau = part.frontier["run_id"].map(part.setting("threshold.tau"))
    return plots.decay_points(part.frontier.assign(tau=tau), similarity=_first(part, "similarity"))


def _perturbation(part: Records) -> Figure:
    return plots.perturbation(part.probe("perturbation"), similarity=_first(part, "similarity"))


def _reliability(part: Records) -> Figure:
    return plots.reliability(part.probe("reliability"))


def _seconds(part: Records) -> Figure:
    return plots.seconds_saved(part.timings)


def _efficiency(records: Records) -> tables.Table:
    table = tables.efficiency(records.certificates, records.runs)
    lacks = tuple(tables.missing(table))
    return tables.Table(table, tables.efficiency_shown(table), tables.efficiency_note(table), lacks)


def _certified(records: Records) -> tables.Table:
    table = tables.certified(records.certificates)
    losses = ", ".join(f"1 - {name}" for name in dict.fromkeys(records.runs["similarity"]))
    return tables.Table(table, tables.certified_shown(table), f"Losses: {losses}.")


def _text_lengths(records: Records) -> tables.Table:
    table = tables.text_lengths(records.examples)
    return tables.Table(table, tables.text_lengths_shown(table), tables.text_lengths_note())


def _classifier_f1(records: Records) -> tables.Table:
    table = tables.classifier_f1(records.probe("classifier_f1"), records.setting("training.classifier_objective"))
    return tables.Table(table, tables.classifier_f1_shown(table), tables.classifier_f1_note(table))


def _state_copying(records: Records) -> tables.Table:
    table = tables.state_copying(records.frontier, records.setting("state_copying"), records.runs)
    note = tables.state_copying_note(table, _first(records, "similarity"))
    return tables.Table(table, tables.state_copying_shown(table), note)


def _first(part: Records, column: str) -> str:
    return str(part.runs[column].iloc[0])


def _asked_by(experiment: str) -> str:
    command = f"python -m calm_bench +experiment={experiment}"
    return f"no runs of +experiment={experiment}: {command} makes them"


CATALOGUE = (
    Output("efficiency", "Layers, FLOPs and speedup at each promise", "Table 2", _efficiency, scopes.ordinary),
    Output("certified", "Certified thresholds", "", _certified, scopes.ordinary),
    Output("data", "Lengths of the texts", "Table 1", _text_lengths, scopes.everything),
    Output(
        "classifier", "F1 of the exit classifier", "Table D.1", _classifier_f1,
        scopes.asked("classifier_f1"), _asked_by("classifier_training"),
    ),
    Output(
        "state-copying", "What copying states costs", "section 3.3.1", _state_copying,
        scopes.named("state_copying"), _asked_by("state_copying"),
    ),
    Output(
        "perturbation", "One wrong token", "Fig. 2a", _perturbation,
        scopes.probed("perturbation"), _asked_by("perturbation"),
    ),
    Output(
        "decay-points", "Similarity and layers by decay", "Fig. 2c", _decay_points,
        scopes.apart("decay", "threshold.tau"), _asked_by("decay"),
    ),
    Output("frontier", "Quality against layers", "Fig. 3, B.6", _frontier("mean_exit_layer")),
    Output("frontier-flops", "Quality against FLOPs", "", _frontier("flops_reduction")),
    Output("frontier-seconds", "Quality against seconds", "", _frontier("seconds")),
    Output("consistency-textual", "Textual loss and layers against δ", "Fig. B.1, B.3, B.7", _consistency("textual")),
    Output("consistency-risk", "Risk loss and layers against δ", "Fig. B.2, B.4, B.8", _consistency("risk")),
    Output("coloured-text", "A text by exit layer", "Fig. 4, B.5", _coloured),
    Output("exit-histogram", "Tokens by exit layer", "", _exits(plots.exit_histogram)),
    Output("exit-by-position", "Exit layer along the text", "", _exits(plots.exit_by_position)),
    Output("reliability", "Confidence against agreement", "", _reliability),
    Output("broken-promises", "Broken promises against ε", "", _promises),
    Output("methods", "Methods of calibration", "", _methods),
    Output("seconds-saved", "Layers saved against seconds saved", "", _seconds),
)  # fmt: skip
