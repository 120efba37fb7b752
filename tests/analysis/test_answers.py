"""Each question is answered from its runs, with the paper's finding beside ours, and what contradicts it is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from analysis import answers, load
from analysis.answers.answer import Estimate
from calm_bench import choices, console
from calm_bench.errors import InputError
from calm_bench.records.store import Run
from tests.analysis.conftest import WriteRun

FEW = {"measures": ("softmax",), "thresholds": np.array([0.9, 0.8, 0.7]), "timed": False}
Change = Callable[[dict[str, Any]], dict[str, Any]]


def said(*runs: Path) -> str:
    """All that is said of these runs, in one line."""
    return " ".join(" ".join(line.split()) for line in answers.lines(load(list(runs), quiet=True)))


def asking(name: str, **options: Any) -> dict[str, Any]:
    return {"answer": name, "question": f"What of {name}?", **options}


def losing(points: float, kind: str = "oracle") -> Change:
    """Every text of these rules is so many points of 100 worse than the full model's of its example, give or take."""

    def change(frames: dict[str, Any]) -> dict[str, Any]:
        texts, rules = frames["generations"], frames["rules"]
        full = texts[texts["rule"] == 0].set_index("example")["score"]
        chosen = texts["rule"].isin(rules.loc[rules["kind"] == kind, "rule"])
        noise = 0.02 * np.cos(texts["example"] + points)
        scores = texts["score"].where(~chosen, texts["example"].map(full) - points / 100 + noise)
        return {**frames, "generations": texts.assign(score=scores)}

    return change


def state_copying(write_run: WriteRun, n: int = 40, **lost: float) -> list[Path]:
    return [
        write_run(
            run_id=way,
            name="ways",
            n=n,
            change=losing(points),
            config=asking("state_copying", state_copying=way),
            **FEW,
        )
        for way, points in lost.items()
    ]


def test_every_answer_that_an_option_may_name_is_there() -> None:
    assert {*answers.ANSWERS, "promises"} == set(get_args(choices.AnswerName))


def test_copied_states_as_in_the_paper(write_run: WriteRun) -> None:
    text = said(*state_copying(write_run, exit_state=0.0, projected_kv=20.0))
    assert text.startswith("What of state_copying? ways, 2 runs: 40 examples, 8 decoder layers")
    assert "points more than the state: as in the paper" in text
    assert "copying its keys and values costs 3" in text
    assert "less than the paper's 39.9%" in text
    assert "39.9% oracle exits" in text  # the last row of the table, and the note


def test_copied_states_unlike_the_paper(write_run: WriteRun) -> None:
    text = said(*state_copying(write_run, exit_state=20.0, first_state=30.0, projected_kv=2.0))
    assert "points more than the state: unlike the paper" in text
    assert "copying the exit layer's state costs" in text
    assert "more than the paper's 0.2%" in text
    assert "copying the first layer's state costs " in text
    assert "points more than the exit layer's: surely more; the paper: 0.07 less" in text


def test_few_examples_are_said_to_be_too_few(write_run: WriteRun) -> None:
    text = said(*state_copying(write_run, n=3, exit_state=0.0, projected_kv=3.0))
    assert "points more than the state: n = 3 is too small to tell" in text


def test_a_lone_run_answers_its_part(write_run: WriteRun) -> None:
    text = said(*state_copying(write_run, exit_state=5.0))
    assert "copying the exit layer's state costs" in text
    assert "points more" not in text
    assert "running the skipped layers costs nothing" in said(*state_copying(write_run, true_state=0.0))


def stepping(step: float) -> Change:
    """Between the first two thresholds lies a step of so many points of textual loss, and next to none after it."""

    def change(frames: dict[str, Any]) -> dict[str, Any]:
        rules, texts = frames["rules"], frames["generations"]
        first = rules.loc[rules["threshold"] == 0.9, "rule"].iloc[0]
        losses = np.where(texts["rule"] > first, 0.1 + step / 100 + 0.01 * np.cos(texts["example"]), 0.1)
        points = frames["frontier"]
        means = np.where(points["rule"] > first, 0.1 + step / 100, 0.1)
        return {
            **frames,
            "generations": texts.assign(textual_loss=losses),
            "frontier": points.assign(textual_loss=means),
        }

    return change


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            (20, 5),
            [
                "20.0 (19.",
                "the paper: more than 10, as in the paper",
                "5.0 (4.",
                "τ = 4, the best",
                "less: as in the paper",
            ],
        ),
        ((5, 15), ["the paper: more than 10, unlike the paper", "10.0 (9.", "more: unlike the paper"]),
    ],
)
def test_decay(write_run: WriteRun, steps: tuple[float, float], words: list[str]) -> None:
    runs = [
        write_run(
            run_id=f"tau{tau}",
            name="taus",
            change=stepping(step),
            config=asking("decay", threshold={"tau": tau}),
            **FEW,
        )
        for tau, step in zip((0.0, 4.0), steps, strict=True)
    ]
    text = said(*runs)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(("shift", "words"), [(-0.3, "as in the paper"), (0.3, "unlike the paper"), (0, "too small")])
def test_classifier_training(write_run: WriteRun, shift: float, words: str) -> None:
    def change(frames: dict[str, Any]) -> dict[str, Any]:
        columns = ["f1", "f1_low", "f1_high"]
        f1 = frames["classifier_f1"]
        return {**frames, "classifier_f1": f1.assign(**{name: f1[name] + shift for name in columns})}

    runs = [
        write_run(
            run_id=objective,
            name="objectives",
            config=asking("classifier_training", training={"classifier_objective": objective}),
            change=change if objective == "geometric" else None,
            **FEW,
        )
        for objective in ("independent", "geometric")
    ]
    said_lines = "\n".join(answers.lines(load(runs, quiet=True))).splitlines()
    assert max(map(len, said_lines)) <= console.WIDTH
    text = said(*runs)
    assert f"F1 {-shift:+.2f} in the mean over layers 1 to 7" in text
    assert words in text
    assert "published" in text


def test_perturbation(write_run: WriteRun) -> None:
    run = write_run(config=asking("perturbation"), **FEW)
    text = said(run)
    assert "a first layer's token hurts less than a tenth-ranked one: surely at 5 of 5 positions" in text
    assert "position 9 24 " in text


def test_a_probe_that_was_not_asked_is_said(write_run: WriteRun) -> None:
    assert "no answer: no step of a text is reached by 10 texts" in said(
        write_run(config=asking("perturbation"), drop=("perturbation",), **FEW)
    )


def test_oracle(write_run: WriteRun) -> None:
    text = said(
        write_run(n=60, change=losing(10.0), config=asking("oracle"), **{**FEW, "thresholds": np.array([0.9, 0.5])})
    )
    assert "a measure that always knew would need 2." in text
    assert "of 8 layers and lose " in text
    assert "a loss, unlike the paper; the paper: 1.2 to 1.5 of 8, without loss" in text
    assert "softmax λ = 0.5 takes" in text
    assert "above a fixed layer 4" in text


def test_speed(write_run: WriteRun) -> None:
    path = write_run(config=asking("speed"), **FEW)
    run = Run.open(path)
    blank = dict.fromkeys(
        ("over_peer", "over_ideal", "gb_per_second", "bandwidth_share", "same_texts", "encoder_milliseconds")
    )
    arms = [("full", 8.0, 2.0, 1.0), ("generate()", 8.0, 40.0, 20.0), ("softmax@0.9", 4.0, 2.5, 1.25)]
    run.info["summary"]["speed"] = [
        {
            "arm": arm, "executor": "native", "n": 60, "mean_exit_layer": layers, "milliseconds": ms, "over_full": over,
            "over_full_low": over - 0.05, "over_full_high": over + 0.05, **blank,
        }
        for arm, layers, ms, over in arms
    ]  # fmt: skip
    run.mark("finished")
    text = said(path)
    assert "the full model takes 2.00 ms a text, 0.05 of generate()'s" in text
    assert "softmax@0.9: 4.00 of 8 layers, 0.80 (0.77 to 0.83) times as fast (slower), 40% of 8 / layers; " in text
    assert "8 / layers; unlike the paper (" in text


def test_exit_simulation(write_run: WriteRun) -> None:
    runs = [
        write_run(
            run_id=f"share{share}",
            name="shares",
            n=40,
            change=losing(lost),
            config=asking("exit_simulation", state_copying="exit_state", training={"exit_simulation": share}),
            **FEW,
        )
        for share, lost in ((0.0, 5.0), (0.25, 1.0))
    ]
    text = said(*runs)
    assert "trained on a share of 0, copying costs " in text
    assert "a share of 0.25 spares " in text
    assert "surely less; the full model's own texts lose" in text


def test_runs_that_differ_in_more_than_is_asked_are_answered_apart(write_run: WriteRun) -> None:
    runs = [
        write_run(run_id=f"run{limit}", name="limits", config=asking("oracle", limit=limit), **FEW) for limit in (1, 2)
    ]
    lines = answers.lines(load(runs, quiet=True))
    assert lines.count("What of oracle?") == 2


def test_runs_of_promises_say_nothing_here(write_run: WriteRun) -> None:
    assert answers.lines(load([write_run(**FEW)], quiet=True)) == []


def test_a_difference_of_estimates_is_as_wide_as_both() -> None:
    difference = Estimate(5, 2, 8) - Estimate(1, -3, 5)
    assert (difference.value, difference.low, difference.high) == (4, -1, 9)
    assert Estimate.of({"x": 1.0, "x_low": None}, "x").verdict(7) == "n = 7 is too small to tell"


def test_a_decay_without_thresholds_is_refused() -> None:
    with pytest.raises(InputError, match=r"threshold\.tau"):
        answers.ANSWERS["decay"].answer(EMPTY)  # type: ignore[arg-type]


class EMPTY:
    """Records without a rule of a measure."""

    frontier = pd.DataFrame({"measure": ["full"], "run_id": ["a"], "threshold": [np.nan]})

    @staticmethod
    def setting(_: str) -> pd.Series:
        return pd.Series({"a": None}, dtype=object)
