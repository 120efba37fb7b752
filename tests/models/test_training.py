"""Fine-tuning: what it learns, that it goes on from a checkpoint, and that processes share it."""

import logging
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import TrainingArguments

from calm_bench.following import Values, followed
from calm_bench.models import EarlyExitT5, curves
from calm_bench.models.trainers import MultiExitTrainer
from calm_bench.models.training import _one_card
from tests import several
from tests.models.small_training import last_weight, model_and_rows, train, train_evenly, weights

torch.set_num_threads(1)


def assert_same(one: EarlyExitT5, other: EarlyExitT5) -> None:
    for name, value in one.backbone.state_dict().items():
        torch.testing.assert_close(other.backbone.state_dict()[name], value)


def test_it_learns_and_keeps_a_row_for_each_layer(tmp_path: Path) -> None:
    _, history = train(tmp_path, steps=60, evaluate_every=30, exit_simulation=0.0)
    table = curves.by_layer(history, depth=3)
    assert list(table.columns) == ["step", "score", "layer", "loss", "agreement"]
    assert table[["step", "layer"]].to_numpy().tolist() == [[s, i] for s in (30, 60) for i in (1, 2, 3)]
    first, last = (table[table["step"] == step]["loss"].to_numpy() for step in (30, 60))
    assert (last < first).all()
    assert (table[table["layer"] == 3]["agreement"] == 1).all()
    assert table["agreement"].between(0, 1).all()


def test_its_losses_by_step(tmp_path: Path) -> None:
    _, history = train(tmp_path, steps=5)
    table = curves.losses("model", history)
    assert list(table.columns) == ["stage", "step", "loss", "learning_rate", "validation_loss"]
    assert set(table["stage"]) == {"model"}
    assert table["step"].tolist() == [1, 2, 3, 4, 5]
    assert table["loss"].notna().all()
    assert table["learning_rate"].to_numpy() == pytest.approx([0, 0.01, 0.0075, 0.005, 0.0025])  # one step of warm-up
    assert table["validation_loss"].notna().tolist() == [False, True, False, True, True]  # at the end in any case
    layers = curves.by_layer(history, depth=3)
    last = layers[layers["step"] == 5]["loss"].to_numpy()
    assert table["validation_loss"].iloc[-1] == pytest.approx(last @ [1 / 6, 2 / 6, 3 / 6])


def test_who_follows_it_is_told_its_curves_as_they_come(tmp_path: Path) -> None:
    told: list[Values] = []
    with followed(told.append):
        _, history = train(tmp_path)
    assert all(name.startswith("training/") for values in told for name in values)
    steps = pd.DataFrame([{name.removeprefix("training/"): values[name] for name in values} for values in told])
    losses, layers = curves.losses("model", history), curves.by_layer(history, depth=3)
    for name in ("loss", "learning_rate", "validation_loss"):
        found = steps.dropna(subset=name).set_index("step")[name]
        pd.testing.assert_series_equal(found, losses.dropna(subset=name).set_index("step")[name])
    for what, layer in product(("loss", "agreement"), (1, 2, 3)):
        found = steps.dropna(subset=f"{what}/layer_{layer}").set_index("step")[f"{what}/layer_{layer}"]
        assert found.to_dict() == layers[layers["layer"] == layer].set_index("step")[what].to_dict()
    assert steps["score"].dropna().tolist() == layers.drop_duplicates("step")["score"].tolist()
    assert steps["seconds_left"].dropna().iloc[-1] == 0


def test_the_checkpoint_with_the_best_score_stays(tmp_path: Path) -> None:
    kept: dict[str, torch.Tensor] = {}
    scores = iter((1.0, 3.0, 2.0))

    def score(model: EarlyExitT5) -> float:
        found = next(scores)
        if found == 3.0:
            kept.update({name: value.clone() for name, value in model.backbone.state_dict().items()})
        return found

    model, _ = train(tmp_path, score)
    for name, value in kept.items():
        torch.testing.assert_close(model.backbone.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_training_goes_on_to_the_same_end(torn: bool, tmp_path: Path) -> None:
    whole, whole_history = train(tmp_path / "whole")
    asked = []

    def interrupted(model: EarlyExitT5) -> float:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return last_weight(model)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", interrupted)
    assert [path.name for path in (tmp_path / "broken").glob("checkpoint-*")] == ["checkpoint-2"]
    if torn:  # killed while it wrote the next one
        (tmp_path / "broken/checkpoint-4").mkdir()
        (tmp_path / "broken/checkpoint-4/trainer_state.json").write_text('{"global_step": 4, "log_')
    resumed_at = []

    def counted(model: EarlyExitT5) -> float:
        resumed_at.append(1)
        return last_weight(model)

    resumed, resumed_history = train(tmp_path / "broken", counted)
    assert len(resumed_at) == 2  # steps 4 and 6: step 2 was not done again
    for table in (lambda h: curves.by_layer(h, 3), lambda h: curves.losses("model", h)):
        pd.testing.assert_frame_equal(table(resumed_history), table(whole_history))
    assert_same(resumed, whole)


def test_what_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    first, history = train(tmp_path)

    def refused(_: EarlyExitT5) -> float:
        raise AssertionError("trained again")

    second, again = train(tmp_path, refused)
    assert_same(second, first)
    pd.testing.assert_frame_equal(curves.losses("model", again), curves.losses("model", history))


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    large = train_evenly(tmp_path / "large", batch_size=8)
    small = train_evenly(tmp_path / "small", batch_size=4, gradient_accumulation=2)
    other = train_evenly(tmp_path / "other", batch_size=4)
    for name, value in large.backbone.state_dict().items():
        torch.testing.assert_close(small.backbone.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(other.backbone.lm_head.weight, large.backbone.lm_head.weight, atol=1e-3)


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_bfloat16_is_for_products_alone(optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    plain = MultiExitTrainer.compute_loss

    def watched(*arguments: object, **options: object) -> torch.Tensor:
        losses.append(plain(*arguments, **options))  # type: ignore[arg-type]
        return losses[-1]

    monkeypatch.setattr(MultiExitTrainer, "compute_loss", watched)
    model, history = train(tmp_path / "bf16", bf16=True, optimizer=optimizer)
    _, exact = train(tmp_path / "float32", optimizer=optimizer)
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert {parameter.dtype for parameter in model.backbone.parameters()} == {torch.float32}
    ours, theirs = (curves.losses("model", found)["loss"] for found in (history, exact))
    assert not ours.equals(theirs)
    assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=0.05)


@pytest.mark.parametrize("relative", [True, False])
def test_adafactor_s_rate_is_a_share_of_each_weight_s_size_as_in_t5x(relative: bool, tmp_path: Path) -> None:
    """T5X multiplies the rate by the parameter's root mean square, at least 1e-3; Trainer's own Adafactor does not."""
    before, _ = model_and_rows(dropout=0.0)
    after, _ = train(
        tmp_path, steps=1, warmup_steps=0, optimizer="adafactor", learning_rate=1e-3, scale_parameter=relative
    )
    for (name, old), new in zip(before.backbone.named_parameters(), after.backbone.parameters(), strict=True):
        size, step = old.square().mean().sqrt(), (new - old).square().mean().sqrt()
        if step > 0:  # the first update has a mean square of about 1, cut to at most 1
            rate = 1e-3 * max(size, 1e-3) if relative else 1e-3
            assert 0.2 * rate < step < 1.01 * rate, name


def test_a_loss_that_is_no_number_ends_the_training_where_it_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = MultiExitTrainer.compute_loss, []

    def poisoned(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(1)
        loss = plain(*arguments, **options)  # type: ignore[arg-type]
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(MultiExitTrainer, "compute_loss", poisoned)
    with pytest.raises(
        FloatingPointError, match=r"^training: the loss is not finite at step 3; lower the learning rate"
    ):
        train(tmp_path, steps=60, evaluate_every=60)
    assert len(calls) == 3  # each of so few steps is logged


def test_attention_is_not_cudnn_s_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backward pass gives NaN on a Hopper GPU; which kernel is taken is set on any machine."""
    plain, taken = MultiExitTrainer.compute_loss, []

    def noted(*arguments: object, **options: object) -> torch.Tensor:
        taken.append((torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()))
        return plain(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MultiExitTrainer, "compute_loss", noted)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    train(tmp_path, steps=2)
    assert before
    assert taken == [(False, True)] * 2
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_gradient_is_cut_to_its_norm(tmp_path: Path) -> None:
    """AdamW takes steps of any gradient that is not small against its 1e-8."""
    start, _ = model_and_rows()
    moved = {}
    for norm in (0.0, 1e-12):
        model, _ = train(tmp_path / str(norm), steps=1, warmup_steps=0, max_grad_norm=norm)
        moved[norm] = (model.backbone.lm_head.weight - start.backbone.lm_head.weight).abs().max()
    assert moved[1e-12] < 1e-3 * moved[0.0]


def test_each_evaluation_is_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        train(tmp_path)
    lines = [entry.getMessage() for entry in caplog.records if entry.name.startswith("calm_bench")]
    assert [line.partition(":")[0] for line in lines] == [f"fine-tune, step {step} of 6" for step in (2, 4, 6)]
    assert all("agreement by layer" in line for line in lines)
    out, err = capfd.readouterr()
    assert out == ""
    assert "fine-tune" not in err  # no bar where there is no terminal


def test_a_process_that_sees_many_cards_keeps_to_one(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, per_device_train_batch_size=4)
    assert arguments.n_gpu == 0
    arguments._n_gpu = 8
    assert arguments.train_batch_size == 32
    assert _one_card(arguments).train_batch_size == 4


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Both end with the same weights, those of one process with batches twice as large."""
    statuses, _, err = several.run(2, "-m", "tests.models.small_training", str(tmp_path), cwd=tmp_path)
    assert statuses == [0, 0], err[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for kind in ("chance", "even"):
        for name, value in first[kind].items():
            torch.testing.assert_close(second[kind][name], value, rtol=0, atol=0)
    alone = weights(train_evenly(tmp_path / "alone", batch_size=8))
    for name, value in alone.items():
        torch.testing.assert_close(first["even"][name], value, rtol=1e-3, atol=1e-5)
    for stage in ("checkpoints", "classifier", "even"):
        assert 1 <= len(list((tmp_path / stage).glob("checkpoint-*"))) <= 2
