"""The one door: which executor serves what, and that passing one over changes no text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar, get_args

import numpy as np
import pytest
import torch

from calm_bench.choices import TimingExecutor
from calm_bench.decoding import Decay, Decoder, Generations, Rule, decode, executor
from calm_bench.decoding.grid import Grid
from calm_bench.errors import InputError
from calm_bench.measures import Softmax, State
from calm_bench.models import EarlyExitModel, EarlyExitT5
from tests.models_for_tests import random_sources

RULES = [Rule.full(), *(Rule.adaptive(measure, 0.3, Decay("none")) for measure in (State(), Softmax()))]


class Picky(Grid):
    """The grid in another name, which knows neither softmax nor drafts."""

    name: ClassVar[str] = "picky"
    rules: ClassVar[list[str]] = []
    built: ClassVar[int] = 0

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype) -> None:
        super().__init__(model, dtype)
        Picky.built += 1

    def refuses(self, rule: Rule) -> str | None:  # type: ignore[override]
        return "it has no code for it" if rule.name in ("softmax", "speculative") else None

    def run(self, context: object, rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        Picky.rules += [rule.name for rule in rules]
        return super().run(context, rules, max_new_tokens)  # type: ignore[arg-type]


class Absent(Grid):
    name: ClassVar[str] = "absent"

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> str:  # type: ignore[override]
        return "no compiler"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Picky, Absent):
        monkeypatch.setitem(executor.EXECUTORS, kind.name, f"{__name__}:{kind.__name__}")
    monkeypatch.setitem(executor.ALONE, "cpu", ("absent", "picky", "grid"))
    monkeypatch.setattr(Picky, "rules", [])
    monkeypatch.setattr(Picky, "built", 0)


def test_an_executor_that_refuses_a_rule_is_passed_over_with_a_word(
    model: EarlyExitT5, caplog: pytest.LogCaptureFixture
) -> None:
    sources = random_sources(0, 5)
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        mixed = Decoder(model, executor="picky").decode(sources, RULES, 6, batch_size=2)
    assert Picky.rules == ["full", "state"] * 3
    assert caplog.messages == ["the picky executor does not decode softmax: it has no code for it"]  # once, not thrice
    expected = decode(model, sources, RULES, 6)
    np.testing.assert_array_equal(mixed.token_ids, expected.token_ids)
    np.testing.assert_array_equal(mixed.exit_layers, expected.exit_layers)
    np.testing.assert_allclose(mixed.confidences, expected.confidences, atol=1e-5)


def test_an_executor_that_is_not_available_gives_way_to_the_grid(
    model: EarlyExitT5, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        assert Decoder(model, executor="absent").serving(Rule.full()).name == "grid"
    assert caplog.messages == ["the absent executor is not available: no compiler"]


def test_auto_is_the_grid_for_many_and_the_first_that_serves_for_one(model: EarlyExitT5) -> None:
    decoder = Decoder(model)
    decoder.decode(random_sources(0, 2), RULES, 3)
    assert not Picky.rules
    assert [decoder.serving(rule).name for rule in RULES] == ["grid"] * 3
    assert [decoder.serving(rule, alone=True).name for rule in RULES] == ["picky", "picky", "grid"]


def test_every_executor_may_be_chosen_for_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert {*get_args(TimingExecutor), "speculative"} == {"auto", *executor.EXECUTORS}  # that one serves its own rules
    assert all(set(names) <= set(executor.EXECUTORS) and names[-1] == "grid" for names in executor.ALONE.values())


@pytest.mark.parametrize("preferred", ["auto", "grid", "picky"])
def test_a_speculative_rule_alone_is_really_drafted(preferred: str, model: EarlyExitT5) -> None:
    """The grid knows what comes of it, which is no time to print."""
    rule, decoder = Rule.speculative(1, 2), Decoder(model, executor=preferred)
    assert decoder.serving(rule, alone=True).name == "speculative"
    assert decoder.serving(rule).name == "grid"


def test_weights_are_laid_out_once(model: EarlyExitT5) -> None:
    decoder = Decoder(model)
    first = decoder.preferring("picky").serving(Rule.full())
    assert decoder.preferring("picky").serving(RULES[1]) is first is decoder.serving(Rule.full(), alone=True)
    assert Picky.built == 1


def test_what_is_encoded_once_serves_several_runs(model: EarlyExitT5) -> None:
    sources = random_sources(3, 2)
    for decoder in (Decoder(model), Decoder(model, executor="picky")):
        encoded = decoder.encode(sources)
        for rule in RULES:
            alone = decoder.run(encoded, [rule], 5)
            np.testing.assert_array_equal(alone.token_ids, decode(model, sources, [rule], 5).token_ids)


@pytest.mark.parametrize(("option", "words"), [("executor", "auto, grid, .*picky, absent"), ("dtype", "bfloat16")])
def test_an_unknown_choice_is_refused(model: EarlyExitT5, option: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"{option}='float8' must be one of .*{words}"):
        Decoder(model, **{option: "float8"})
