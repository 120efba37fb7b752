"""What one wrong token does, and what the exit classifier sees."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from calm_bench.decoding import Rule, decode
from calm_bench.errors import InputError
from calm_bench.models import EarlyExitT5
from calm_bench.stages.probes import _forced, _go_on, classifier_f1, perturbation
from tests.models_for_tests import random_sources, random_t5

torch.set_num_threads(1)
LIMIT = 9


class Overlap:
    """Share of the first text's tokens that stand at the same place of the second's."""

    def scores(self, predictions: list[list[int]], references: list[tuple[list[int], ...]]) -> Any:
        pairs = zip(predictions, references, strict=True)
        shares = [sum(a == b for a, b in zip(one, other[0], strict=False)) / len(one) for one, other in pairs]
        return torch.tensor(shares).double().numpy()


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> tuple[EarlyExitT5, Any, list[Any]]:
    model, sources = random_t5(2, depth=3), random_sources(1, 5)
    monkeypatch.setattr(model, "tokenize", lambda texts, _: list(texts), raising=False)
    monkeypatch.setattr(model, "detokenize", lambda rows: [[t for t in row if t] for row in rows], raising=False)
    task = SimpleNamespace(max_new_tokens=LIMIT, max_source_tokens=99, similarity=Overlap())
    examples = [SimpleNamespace(source=s, target=[*s[::-1], 7], references=(s,)) for s in sources]
    return model, task, examples


@torch.inference_mode()
def test_without_a_wrong_token_the_text_is_the_full_models(set_up: Any) -> None:
    model, _, examples = set_up
    full = decode(model, [e.source for e in examples], [Rule.full()], LIMIT)
    texts = [row[:n].tolist() for row, n in zip(full.token_ids[:, 0], full.n_tokens[:, 0], strict=True)]
    (batch,) = _forced(model, [e.source for e in examples], texts)
    for step in (0, 2):
        rows = [row for row, text in enumerate(texts) if len(text) > step]
        written = _go_on(model, batch, rows, batch.tokens, step, LIMIT)
        assert [[*filter(None, text)] for text in written] == [[*filter(None, texts[row])] for row in rows]


def test_perturbation_has_a_row_for_each_kind_and_step(set_up: Any) -> None:
    rows = perturbation(*set_up)
    assert {row["kind"] for row in rows} == {"sampled", "layer"}
    assert {row["step"] for row in rows} <= {0, 1, 2, 4, 8}
    assert all(row["changed"] == 1 for row in rows if row["kind"] == "sampled")
    assert all(row["similarity"] < 1 for row in rows if row["kind"] == "sampled")
    assert [row["n"] for row in rows if row["step"] == 0] == [5, 5]


def test_f1_by_hand(set_up: Any) -> None:
    model, task, examples = set_up
    model.classifier.linear.weight.data[:] = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    rows = classifier_f1(model, task, examples)
    assert [row["layer"] for row in rows] == [1, 2]
    total = dict.fromkeys((1, 2), (0, 0, 0))
    for example in examples:
        outputs = model.backbone(
            input_ids=torch.tensor([example.source]),
            labels=torch.tensor([example.target]),
            output_hidden_states=True,
        )
        final = outputs.logits[0].argmax(-1)
        for layer in (1, 2):
            state = outputs.decoder_hidden_states[layer][0]
            wrong, stays = model.head(state).argmax(-1) != final, model.classifier(state) < 0.5
            hit, missed, false = (wrong & stays).sum(), (wrong & ~stays).sum(), (~wrong & stays).sum()
            total[layer] = tuple(a + int(b) for a, b in zip(total[layer], (hit, missed, false), strict=True))  # type: ignore[assignment]
    for row in rows:
        hit, missed, false = total[row["layer"]]
        assert row["f1"] == pytest.approx(hit / (hit + (missed + false) / 2))
        assert row["n"] == sum(len(example.target) for example in examples)


def test_f1_needs_a_classifier(set_up: Any) -> None:
    model, task, examples = set_up
    model.classifier = None
    with pytest.raises(InputError, match="no exit classifier"):
        classifier_f1(model, task, examples)
