"""The MLP classifier: its file, its loss, and that its training orders tokens by whether stopping is right."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from calm_bench.decoding import Decoder
from calm_bench.errors import InputError
from calm_bench.models import EarlyExitT5, curves
from calm_bench.models.frozen_states import FrozenStates, evenly
from calm_bench.models.mlp_classifier import MlpClassifier, normed
from calm_bench.models.stopping_loss import HIGHEST, LOWEST, Predictions, prediction_loss, stopping_loss
from calm_bench.models.trainers import LearnsWhereToStop
from calm_bench.models.training import train_mlp_classifier
from calm_bench.probes.subject import full_texts
from tests.models.small_training import SETTINGS, Rows, model_and_rows
from tests.models_for_tests import random_sources

torch.set_num_threads(1)


def test_one_layer_and_all_layers_are_the_same() -> None:
    torch.manual_seed(0)
    module, states = MlpClassifier(6, 4, 5), list(torch.randn(4, 7, 6))
    together = module.log_odds(states).sigmoid()
    for layer in (1, 2, 3):
        torch.testing.assert_close(module(layer, states[layer], states[layer - 1]), together[layer - 1])


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    module, state, previous = MlpClassifier(6, 4, 5), torch.randn(1, 6), torch.randn(1, 6)
    weights = module.state_dict()
    normed = torch.cat([x / x.square().mean().sqrt() for x in (state[0], previous[0])])
    hidden = functional.gelu(weights["hidden.weight"][2] @ normed + weights["hidden.bias"][2], approximate="tanh")
    log_odds = weights["output.weight"][2, 0] @ hidden + weights["output.bias"][2, 0]
    torch.testing.assert_close(module(3, state, previous)[0], log_odds.sigmoid())


def test_round_trip_and_a_file_that_does_not_fit(tmp_path: Path) -> None:
    module = MlpClassifier(6, 4, 5)
    assert MlpClassifier.load(tmp_path, 6, 4) is None
    module.save(tmp_path)
    again = MlpClassifier.load(tmp_path, 6, 4)
    assert again is not None
    assert again.units == 5
    torch.testing.assert_close(again.state_dict(), module.state_dict())
    for width, depth in ((8, 4), (6, 5)):
        with pytest.raises(InputError, match="must hold .*, but holds "):
            MlpClassifier.load(tmp_path, width, depth)


def loss_of(log_odds: list[list[float]], agrees: list[list[int]]) -> float:
    """Of one token, at many thresholds: repeated, so that it meets them all."""
    seen = Predictions(torch.tensor(agrees).bool().repeat(1, 1000), torch.zeros(len(agrees), 1000))
    return stopping_loss(torch.tensor(log_odds).repeat(1, 1000), seen).item()


def test_predictions_are_agreement_and_lead() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]).log()
    seen = Predictions.of([logits, logits.flip(0)], torch.tensor([0, 2]))
    assert seen.agrees.tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(seen.leads, torch.tensor([[0.2, 0.5], [0.5, 0.2]]))


def test_the_first_loss_is_least_between_agreement_and_lead() -> None:
    seen = Predictions(torch.tensor([[True]]), torch.tensor([[0.4]]))
    least = torch.tensor([[0.7]]).logit()
    assert all(prediction_loss(least, seen) < prediction_loss(least + step, seen) for step in (-0.1, 0.1))


def test_stopping_where_it_is_right_costs_least() -> None:
    right = loss_of([[-9.0], [9.0], [9.0]], [[0], [1], [1]])
    assert right < loss_of([[9.0], [9.0], [9.0]], [[0], [1], [1]])  # too early: another token
    assert right < loss_of([[-9.0], [-9.0], [9.0]], [[0], [1], [1]])  # too late: a layer more


def test_a_sure_rule_costs_its_layers_and_its_errors() -> None:
    """Stopping at once: one layer at any price, and an error where the first layer is wrong."""
    theta = torch.linspace(LOWEST, HIGHEST, 10001)
    layer, error = (-theta / 2).exp().mean().item(), (theta / 2).exp().mean().item()
    extra = 0.2 * 30 / 2  # the cross-entropy of being as sure of a wrong token as of a right one
    assert loss_of([[30.0], [30.0]], [[0], [1]]) == pytest.approx(layer + error + extra, rel=1e-2)


def own_rows(model: EarlyExitT5, count: int = 60) -> Rows:
    sources = random_sources(1, count)
    return [
        {"input_ids": source, "labels": text}
        for source, text in zip(sources, full_texts(Decoder(model), sources, 8), strict=True)
    ]


def agreement(model: EarlyExitT5, rows: Rows) -> tuple[Tensor, Tensor]:
    """z (L - 1, M) and whether the layers agree with the model's own texts, (L - 1, M)."""
    found = []
    for batch in model.forced([row["input_ids"] for row in rows], [row["labels"] for row in rows]):
        states = [state[batch.there] for state in batch.states]
        agrees = torch.stack([model.head(state).argmax(-1) == batch.tokens[batch.there] for state in states[1:]])
        found.append((model.learned["mlp_classifier"].log_odds(states), agrees))
    return torch.cat([z for z, _ in found], 1), torch.cat([agrees for _, agrees in found], 1)


def test_training_tells_where_layers_agree_and_touches_nothing_else(tmp_path: Path) -> None:
    model, _ = model_and_rows()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    rows, settings = own_rows(model), dataclasses.replace(SETTINGS, mlp_classifier_steps=120, batch_size=16)
    history = train_mlp_classifier(model, rows, rows[:16], settings, folder=tmp_path, seed=0)
    torch.testing.assert_close(model.backbone.state_dict(), before, rtol=0, atol=0)
    validation = curves.losses("mlp_classifier", history).set_index("step")["validation_loss"].dropna()
    assert validation.index.tolist() == list(range(6, 121, 6))
    prediction_curve, stopping_curve = validation.loc[:60], validation.loc[66:]
    assert prediction_curve.iloc[-1] < 0.95 * prediction_curve.iloc[0]
    assert stopping_curve.iloc[-1] < stopping_curve.iloc[0]
    with torch.inference_mode():
        log_odds, agrees = agreement(model, rows)
    assert agrees.any()
    assert not agrees.all()
    in_order = (log_odds[agrees][:, None] > log_odds[~agrees]).float().mean()
    assert in_order > 0.65, in_order  # half of them in no order


@pytest.mark.parametrize("stop", [1, 16, 21, 38])
def test_an_interrupted_training_goes_on_to_the_same_end(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first checkpoint, after that of step 14, between the halves, and after that of step 36 of 40."""
    steps: list[int] = []

    def end(folder: Path) -> tuple[dict[str, Tensor], pd.DataFrame]:
        model, _ = model_and_rows()
        rows, settings = own_rows(model), dataclasses.replace(SETTINGS, mlp_classifier_steps=40)
        torch.rand(1 + len(steps))  # chance before this: of another amount where another process trained the model
        history = train_mlp_classifier(model, rows, rows[:16], settings, folder=folder, seed=0)
        return model.learned["mlp_classifier"].state_dict(), curves.losses("mlp_classifier", history)

    def counted(module: LearnsWhereToStop, **batch: Tensor) -> dict[str, Tensor]:
        steps.extend([1] * module.training)
        if len(steps) == stop and module.training:
            raise KeyboardInterrupt
        return plain(module, **batch)

    plain = LearnsWhereToStop.forward
    whole, whole_table = end(tmp_path / "whole")
    monkeypatch.setattr(LearnsWhereToStop, "forward", counted)
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "broken")
    assert len(steps) == stop
    resumed, resumed_table = end(tmp_path / "broken")
    assert len(steps) == stop + 40 - {1: 0, 16: 14, 21: 20, 38: 36}[stop]
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    pd.testing.assert_frame_equal(resumed_table, whole_table)


def test_what_is_kept_is_what_decoding_sees() -> None:
    """Each token's normed states, and whether each layer's best token is the one that the full model wrote."""
    model, _ = model_and_rows()
    rows = own_rows(model)
    kept = FrozenStates(model, rows, 1.0, "")
    written = sum(len(row["labels"]) for row in rows)
    assert len(kept) == kept.of == written
    states, agrees, leads = [], [], []
    rows.sort(key=lambda row: len(row["input_ids"]) + len(row["labels"]))
    for row in rows:
        context, past = model.read(row["input_ids"]), [[] for _ in range(model.depth)]  # type: ignore[var-annotated]
        for before, token in zip([model.tokens.start, *row["labels"]], row["labels"], strict=False):
            here = [model.embed(before)]
            for layer, seen in enumerate(past, 1):
                seen.append((layer, here[-1]))
                here.append(model.run_layer(layer, here[-1], seen, context))
            states.append(torch.stack([state[0, 0] for state in here[:-1]]))
            two = [model.head(state[0]).softmax(-1).topk(2) for state in here[1:-1]]
            agrees.append(torch.tensor([best.indices[0, 0].item() == token for best in two]))
            leads.append(torch.stack([best.values[0, 0] - best.values[0, 1] for best in two]))
    torch.testing.assert_close(kept.states.float(), normed(torch.stack(states)), atol=2e-3, rtol=2e-3)
    assert torch.equal(kept.agrees, torch.stack(agrees))
    torch.testing.assert_close(kept.leads.float(), torch.stack(leads), atol=1e-3, rtol=2e-3)
    batch = kept.__getitems__([5, 0])
    assert torch.equal(batch["states"], kept.states[[5, 0]])


def test_a_limit_keeps_tokens_of_all_texts() -> None:
    model, _ = model_and_rows()
    rows = own_rows(model)
    whole = FrozenStates(model, rows, 1.0, "")
    token_bytes = 2 * 3 * model.width + 3 * 2
    part = FrozenStates(model, rows, len(whole) / 2 * token_bytes / 2**30, "")
    assert len(part) in (len(whole) // 2, len(whole) // 2 - 1)
    places = evenly(len(whole), len(part)).nonzero()[:, 0]
    assert places.diff().max() <= 3
    assert torch.equal(part.states, whole.states[places])
    assert torch.equal(part.agrees, whole.agrees[places])


def test_half_precision_changes_no_loss() -> None:
    """Beside a pass in float32 of which nothing is kept."""
    model, _ = model_and_rows()
    rows = own_rows(model, 32)
    kept, module = FrozenStates(model, rows, 1.0, ""), LearnsWhereToStop(model, 16)
    (forced,) = model.forced([row["input_ids"] for row in rows], [row["labels"] for row in rows])
    states = [state[forced.there] for state in forced.states]
    seen = Predictions.of((model.head(state) for state in states[1:]), forced.tokens[forced.there])
    with torch.inference_mode():
        exact = prediction_loss(module.classifier.log_odds(states), seen)
        found = module(**kept.__getitems__(range(len(kept))))["loss"]
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-3)
