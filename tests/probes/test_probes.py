"""What one wrong token does, what the exit classifier sees, and whether confident layers are right: by hand."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from calm_bench.build import build
from calm_bench.compose import config_dir
from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.errors import InputError
from calm_bench.measures import Classifier, Softmax, SoftmaxTopk, State
from calm_bench.probes import ClassifierF1, Perturbation, Probe, Reliability, Subject
from calm_bench.records import schema
from tests.models_for_tests import random_sources, random_t5

torch.set_num_threads(1)
LIMIT = 9
MEASURES = (Softmax(), State(), Classifier(), SoftmaxTopk(k=5, layer=2))


class Overlap:
    """Share of the first text's tokens that stand at the same place of the second's."""

    def scores(self, predictions: list[list[int]], references: list[tuple[list[int], ...]]) -> Any:
        pairs = zip(predictions, references, strict=True)
        shares = [sum(a == b for a, b in zip(one, other[0], strict=False)) / len(one) for one, other in pairs]
        return np.array(shares)


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    model, sources = random_t5(2, depth=3), random_sources(1, 5)
    monkeypatch.setattr(model, "tokenize", lambda texts, _: list(texts), raising=False)
    monkeypatch.setattr(model, "detokenize", lambda rows: [[t for t in row if t] for row in rows], raising=False)
    model.learned["classifier"].linear.weight.data[:] = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    as_is = lambda text, _: text  # noqa: E731
    task: Any = SimpleNamespace(max_new_tokens=LIMIT, max_source_tokens=99, similarity=Overlap(), as_written=as_is)
    examples: Any = [SimpleNamespace(source=s, target=[*s[::-1], 7], references=(s,)) for s in sources]
    return Subject(Decoder(model), task, examples, MEASURES, seed=0)


@pytest.mark.parametrize("file", sorted((config_dir() / "probes").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_probe_fills_the_table_that_it_declares(file: Path, subject: Subject) -> None:
    assert file.read_text().startswith(f"# @package probes.{file.stem}\n")
    probe = build(OmegaConf.load(file), Probe)
    assert probe.name == file.stem
    table = probe.answer(subject)
    assert list(table.columns) == probe.columns.names
    assert len(schema.to_table(probe.name, table, probe.columns)) == len(table) > 0


def test_without_a_wrong_token_the_text_is_the_full_models(subject: Subject) -> None:
    for step in (0, 2):
        rows = [row for row, text in enumerate(subject.texts) if len(text) > step]
        beginnings = [subject.texts[row][: step + 1] for row in rows]
        written = subject.model.continued([subject.sources[row] for row in rows], beginnings, LIMIT)
        assert [[*filter(None, text)] for text in written] == [[*filter(None, subject.texts[row])] for row in rows]


def test_perturbation_has_a_row_for_each_kind_and_step(subject: Subject) -> None:
    rows = Perturbation().answer(subject)
    assert set(rows["kind"]) == {"sampled", "layer"}
    assert set(rows["step"]) <= {0, 1, 2, 4, 8}
    sampled = rows[rows["kind"] == "sampled"]
    assert (sampled["changed"] == 1).all()
    assert (sampled["similarity"] < 1).all()
    assert rows[rows["step"] == 0]["n"].tolist() == [5, 5]
    for name in ("score", "score_full", "similarity"):
        assert rows[name].between(rows[f"{name}_low"] - 1e-12, rows[f"{name}_high"] + 1e-12).all()


def test_f1_by_hand(subject: Subject) -> None:
    model = subject.model
    rows = ClassifierF1().answer(subject)
    assert rows["layer"].tolist() == [1, 2]
    total = dict.fromkeys((1, 2), (0, 0, 0))
    for example in subject.examples:
        outputs = model.backbone(
            input_ids=torch.tensor([example.source]),
            labels=torch.tensor([example.target]),
            output_hidden_states=True,
        )
        final = outputs.logits[0].argmax(-1)
        for layer in (1, 2):
            state = outputs.decoder_hidden_states[layer][0]
            wrong, stays = model.head(state).argmax(-1) != final, model.learned["classifier"](state) < 0.5
            hit, missed, false = (wrong & stays).sum(), (wrong & ~stays).sum(), (~wrong & stays).sum()
            total[layer] = tuple(a + int(b) for a, b in zip(total[layer], (hit, missed, false), strict=True))  # type: ignore[assignment]
    for row in rows.to_dict("records"):
        hit, missed, false = total[row["layer"]]
        assert row["f1"] == pytest.approx(hit / (hit + (missed + false) / 2))
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]
        assert row["n_tokens"] == sum(len(example.target) for example in subject.examples)
        assert row["disagree"] == pytest.approx((hit + missed) / row["n_tokens"])


def test_f1_needs_a_classifier(subject: Subject) -> None:
    subject.model.learned.clear()
    with pytest.raises(InputError, match="no exit classifier"):
        ClassifierF1().answer(subject)


def test_reliability_by_hand(subject: Subject) -> None:
    """Each measure's mean confidence and agreement over a layer, whatever the bins, from texts read one by one."""
    table = Reliability().answer(subject)
    assert set(table["measure"]) == {measure.name for measure in MEASURES}
    tokens = sum(map(len, subject.texts))
    by_layer = table.groupby(["measure", "layer"])
    assert (by_layer["n_tokens"].sum() == tokens).all()
    assert by_layer["confidence"].apply(lambda values: values.is_monotonic_increasing).all()
    agrees = np.zeros(3)
    gaps = np.zeros(3)
    for source, text in zip(subject.sources, subject.texts, strict=True):
        outputs = subject.model.backbone(
            input_ids=torch.tensor([source]), labels=torch.tensor([text]), output_hidden_states=True
        )
        for layer in (1, 2):
            logits = subject.model.head(outputs.decoder_hidden_states[layer][0])
            agrees[layer] += (logits.argmax(-1) == outputs.logits[0].argmax(-1)).sum().item()
            top = logits.softmax(-1).topk(2, dim=-1).values
            gaps[layer] += (top[:, 0] - top[:, 1]).sum().item()
    for (measure, layer), rows in by_layer:
        weight = rows["n_tokens"] / tokens
        assert (rows["agreement"] * weight).sum() == pytest.approx(agrees[layer] / tokens)
        if measure == "softmax":
            assert (rows["confidence"] * weight).sum() == pytest.approx(gaps[layer] / tokens, abs=1e-6)
    assert ("state", 1) not in by_layer.groups
    assert ("softmax_topk", 1) not in by_layer.groups


def test_reliability_says_what_decoding_does_at_the_first_token(subject: Subject) -> None:
    """Of a text's tokens only the first has the full model's history under any rule: there both must agree."""
    one = dataclasses.replace(subject, task=SimpleNamespace(**{**vars(subject.task), "max_new_tokens": 1}))
    table = Reliability().answer(one)
    lower, upper = table[(table["measure"] == "softmax") & (table["layer"] == 1)]["confidence"].iloc[1:3]
    threshold = (lower + upper) / 2
    early = one.decoder.decode(one.sources, [Rule.adaptive(Softmax(), threshold, Decay("none"))], 1)
    left = early.confidences[:, 0, 0][early.exit_layers[:, 0, 0] == 1]
    at_one = table[(table["measure"] == "softmax") & (table["layer"] == 1)]
    assert at_one.loc[at_one["confidence"] >= threshold, "n_tokens"].sum() == len(left) > 0
    np.testing.assert_allclose(np.sort(left)[-1], at_one["confidence"].max(), atol=1e-5)


def test_a_model_of_one_layer_has_nothing_to_ask(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> None:
    shallow = random_t5(3, depth=1)
    monkeypatch.setattr(shallow, "tokenize", lambda texts, _: list(texts), raising=False)
    empty = Reliability().answer(dataclasses.replace(subject, decoder=Decoder(shallow)))
    pd.testing.assert_index_equal(empty.columns, pd.Index(Reliability.columns.names))
    assert len(empty) == len(schema.to_table("reliability", empty, Reliability.columns)) == 0
