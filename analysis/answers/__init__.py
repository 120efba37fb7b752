"""What the runs of one question say, in sentences with the paper's finding beside ours: a file for each question.

An experiment names its answer in its YAML (`answer: NAME`); promises are answered by `calm_bench.summary`, run by run.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis import naming
from analysis.answers import (
    classifier_training,
    decay,
    exit_simulation,
    oracle,
    perturbation,
    speed,
    state_copying,
)
from analysis.answers.answer import Answer, Question
from analysis.load import Records
from calm_bench.console import aligned, folded
from calm_bench.errors import InputError

__all__ = ["ANSWERS", "Answer", "Answered", "Question", "answered", "lines", "sentences"]

ANSWERS = {
    "classifier_training": classifier_training.QUESTION,
    "decay": decay.QUESTION,
    "exit_simulation": exit_simulation.QUESTION,
    "oracle": oracle.QUESTION,
    "perturbation": perturbation.QUESTION,
    "speed": speed.QUESTION,
    "state_copying": state_copying.QUESTION,
}
"""By the name that stands in an experiment's YAML."""


@dataclass(frozen=True)
class Answered:
    """A question that runs ask, whose runs these are, and its answer; where they cannot answer it, why not."""

    question: str
    about: str
    answer: Answer | None
    why_not: str = ""


def answered(records: Records, name: str | None = None) -> list[Answered]:
    """The questions that these runs ask, each with its answer; runs that are one question's are answered together.

    Runs whose answer are promises say nothing here.

    name: of the answer, whatever the runs' own.
    """
    found: list[Answered] = []
    for question, part in _asked(records, name):
        first = part.runs.iloc[0]
        n, runs = int(part.frontier["n"].max()), len(part.runs)
        what = f"{n} examples, {part.layers} decoder layers, score {part.quality}, losses by {part.similarity}"
        what += f", timed on {part.timed_on}" if part.timed_on else ""
        about = f"{first['group'] if runs == 1 else first['name']}, {runs} run{'s' * (runs > 1)}: {what}"
        asked = str(first["config"].get("question") or first["name"])
        try:
            found.append(Answered(asked, about, question.answer(part)))
        except InputError as error:
            found.append(Answered(asked, about, None, str(error)))
    return found


def lines(records: Records, name: str | None = None) -> list[str]:
    """`answered` as lines of a terminal; of a question that its runs cannot answer the reason is said."""
    said: list[str] = []
    for one in answered(records, name):
        said += ["", one.question, one.about, *sentences(one)]
        if one.answer:
            said += ["", *aligned(one.answer.rows), folded(one.answer.note)]
    return said[1:]


def sentences(one: Answered) -> list[str]:
    """The answer alone, as lines of a terminal."""
    return list(map(folded, one.answer.sentences if one.answer else [f"no answer: {one.why_not}"]))


def _asked(records: Records, asked: str | None) -> list[tuple[Question, Records]]:
    """The runs of each question, apart where they differ in more than it asks about, its seeds included."""
    parts: dict[tuple[str, str], list[str]] = {}
    for run in records.runs.to_dict("records"):
        name = asked or str(run["config"].get("answer") or run["name"])  # older records have no answer
        if name in ANSWERS:
            rest = naming.settings(run["config"], *ANSWERS[name].varied)
            setup = repr((run["name"], sorted(rest.items(), key=str), run["draw"]))
            parts.setdefault((name, setup), []).append(run["run_id"])
    return [(ANSWERS[name], records.only(records.runs["run_id"].isin(ids))) for (name, _), ids in parts.items()]
