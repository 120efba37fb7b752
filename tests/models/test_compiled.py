"""Compiled and captured steps train as plain ones do."""

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calm_bench.models import curves, loss
from calm_bench.models.compiled import CapturedSteps, compiled
from calm_bench.models.trainers import MultiExitTrainer, _with_whole_masks
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


def test_layers_of_a_kind_are_compiled_once_for_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = model_and_rows()[0]
    made = []
    with compiled(model.sublayers):
        for source, target in [(6, 4), (4, 4), (8, 4), (6, 8), (8, 8)]:  # of batches of four
            ids = torch.full((4, source), 7)
            batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.full((4, target), 7)}
            model.backbone.train()(**_with_whole_masks(batch), use_cache=False)
            made.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert set(made) == {made[0]}


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


@pytest.mark.parametrize("with_exits", [False, True])
def test_a_step_that_does_not_look_at_its_batch_has_the_loss_of_one_that_does(
    with_exits: bool,
) -> None:
    t5 = model_and_rows(dropout=0.0)[0].backbone
    labels = torch.tensor([[5, 6, 7, 1], [8, 1, loss.IGNORED, loss.IGNORED]])
    exits = torch.tensor([[1, 2, 3, 3], [2, 1, 3, 3]]) if with_exits else None
    ids = torch.arange(5, 17).view(2, 6)
    batch = {"input_ids": ids, "attention_mask": torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]]), "labels": labels}
    plainly = t5(**batch, output_hidden_states=True, use_cache=False)
    blindly = t5(**_with_whole_masks(batch), output_hidden_states=True, use_cache=False)
    torch.testing.assert_close(
        loss.layer_losses(t5, blindly, labels, exits, padding_too=True), loss.layer_losses(t5, plainly, labels, exits)
    )


def test_trainer_trains_by_captured_steps_as_by_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing is captured, and what would be is launched again."""
    plain = train_evenly(tmp_path / "plain", gradient_accumulation=2)
    prepare = MultiExitTrainer.prepare

    def captures(self: MultiExitTrainer, *arguments: Any, **options: Any) -> None:
        prepare(self, *arguments, **options)
        self._captures = True

    monkeypatch.setattr(MultiExitTrainer, "prepare", captures)
    captured = train_evenly(tmp_path / "captured", gradient_accumulation=2)
    for name, value in plain.backbone.state_dict().items():
        torch.testing.assert_close(captured.backbone.state_dict()[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("bf16", [False, True])
def test_captured_steps_on_a_gpu_train_as_plain_ones(bf16: bool, tmp_path: Path) -> None:
    changes = {"exit_simulation": 0.0, "steps": 12, "evaluate_every": 6, "gradient_accumulation": 2, "bf16": bf16}
    trained, losses = [], []
    for compile in (False, True):
        model, rows = model_and_rows(dropout=0.0)
        model.backbone.to("cuda")
        settings = dataclasses.replace(SETTINGS, compile=compile, **changes)
        folder = tmp_path / str(compile)
        history = fine_tune(model, rows, rows[:8], settings, score=last_weight, folder=folder, seed=0)
        trained.append(model.backbone.state_dict())
        losses.append(curves.losses("model", history)["loss"].to_numpy())
    assert losses[1] == pytest.approx(losses[0], rel=5e-2 if bf16 else 1e-3)
    assert all(map(math.isfinite, losses[1]))
    if not bf16:
        for name, value in trained[0].items():
            torch.testing.assert_close(trained[1][name], value, rtol=1e-2, atol=1e-3)
