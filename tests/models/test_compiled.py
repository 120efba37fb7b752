"""Compiled and captured steps train as plain ones do."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calm_bench.models import curves, loss
from calm_bench.models.compiled import CapturedSteps
from calm_bench.models.training import fine_tune
from tests.models.small_training import SETTINGS, last_weight, model_and_rows, train_evenly


def test_compiled_layers_train_as_plain_ones_and_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # the default takes a minute
    plain = train_evenly(tmp_path / "plain")
    fast = train_evenly(tmp_path / "compiled", compile=True)
    for name, value in plain.backbone.state_dict().items():
        torch.testing.assert_close(fast.backbone.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert all("forward" not in vars(sublayer) for sublayer in fast.sublayers)


def test_a_captured_step_adds_to_gradients_and_begins_at_zero_where_they_were_dropped() -> None:
    layer = nn.Linear(3, 1)
    calls = []

    def step(inputs: dict[str, Tensor]) -> Tensor:
        calls.append(inputs["x"].shape)
        total = layer(inputs.pop("x")).sum()
        total.backward()
        return total.detach()

    steps, batch = CapturedSteps(step, layer.parameters()), {"x": torch.arange(6.0).view(2, 3)}
    first = steps(batch)
    assert first == pytest.approx(layer(batch["x"]).sum().item())
    assert layer.weight.grad is not None
    once = layer.weight.grad.clone()
    torch.testing.assert_close(once, batch["x"].sum(0, keepdim=True))
    steps(batch)
    torch.testing.assert_close(layer.weight.grad, 2 * once)
    layer.zero_grad()  # which drops them, as Trainer does
    other = steps({"x": torch.ones(4, 3)})
    torch.testing.assert_close(layer.weight.grad, torch.full((1, 3), 4.0))
    assert first != other
    assert set(calls) == {(2, 3), (4, 3)}


def test_while_a_step_is_captured_padding_is_computed_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = model_and_rows(dropout=0.0)
    labels = torch.tensor([[5, 6, 7, 1], [8, 1, loss.IGNORED, loss.IGNORED]])
    t5 = model.backbone
    outputs = t5(input_ids=torch.tensor([rows[0]["input_ids"]] * 2), labels=labels, output_hidden_states=True)
    for exits in (None, torch.tensor([[1, 2, 3, 3], [2, 1, 3, 3]])):
        plain = loss.layer_losses(t5, outputs, labels, exits)
        with monkeypatch.context() as patch:
            patch.setattr(loss, "_target_positions", loss._all_positions)
            captured = loss.layer_losses(t5, outputs, labels, exits)
        torch.testing.assert_close(captured, plain)


@pytest.mark.gpu
def test_captured_steps_on_a_gpu_train_as_plain_ones(tmp_path: Path) -> None:
    changes = {"exit_simulation": 0.0, "steps": 12, "evaluate_every": 6, "gradient_accumulation": 2}
    trained, losses = [], []
    for compile in (False, True):
        model, rows = model_and_rows(dropout=0.0)
        model.backbone.to("cuda")
        settings = dataclasses.replace(SETTINGS, compile=compile, **changes)
        folder = tmp_path / str(compile)
        history = fine_tune(model, rows, rows[:8], settings, score=last_weight, folder=folder, seed=0)
        trained.append(model.backbone.state_dict())
        losses.append(curves.losses("model", history)["loss"].to_numpy())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-2, atol=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert all(map(math.isfinite, losses[1]))
