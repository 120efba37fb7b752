"""The exit classifier's training: the optimum it reaches, the checkpoint it keeps, and that it goes on."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from transformers import DataCollatorForSeq2Seq

from calm_bench.models import EarlyExitT5, curves, trainers
from tests.models.small_training import Rows, model_and_rows, train_classifier

torch.set_num_threads(1)
Array = np.ndarray


def states_and_labels(model: EarlyExitT5, rows: Rows) -> tuple[Array, Array]:
    """Raw states (M, d) of all early layers and whether they agree with the last (M,)."""
    batch = DataCollatorForSeq2Seq(model.tokenizer, model=model.backbone)(rows)
    with torch.no_grad():
        outputs = model.backbone(**batch, output_hidden_states=True)
        there = batch["labels"] != -100
        states = torch.stack([state[there] for state in outputs.decoder_hidden_states[1:-1]])
        agrees = model.head(states).argmax(-1) == outputs.logits[there].argmax(-1)
    return states.flatten(0, 1).double().numpy(), agrees.flatten().double().numpy()


def log_loss(logits: Array, labels: Array) -> float:
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_it_reaches_the_optimum_whatever_the_scale_of_the_states(scale: float, tmp_path: Path) -> None:
    """The loss is convex, and SciPy's minimum of it is the one to reach. Pretrained T5s have large states."""
    model, rows = model_and_rows()
    with torch.no_grad():
        model.backbone.shared.weight *= scale
        for name, weight in model.backbone.decoder.named_parameters():
            if name.endswith(("SelfAttention.o.weight", "EncDecAttention.o.weight", "DenseReluDense.wo.weight")):
                weight *= scale
    states, labels = states_and_labels(model, rows)

    def loss(weights: Array) -> tuple[float, Array]:
        logits = states @ weights[:-1] / scale + weights[-1]
        errors = 1 / (1 + np.exp(-logits)) - labels
        return log_loss(logits, labels), np.append(states.T @ errors / scale, errors.sum()) / len(labels)

    best = minimize(loss, np.zeros(states.shape[1] + 1), jac=True, method="L-BFGS-B").fun
    without_states = log_loss(np.full(len(labels), np.log(labels.mean() / (1 - labels.mean()))), labels)
    train_classifier(model, rows, rows, tmp_path, classifier_steps=600, batch_size=4)
    with torch.no_grad():
        reached = log_loss(model.learned["classifier"].logits(torch.tensor(states).float()).numpy(), labels)
    assert best < 0.95 * without_states
    assert reached < best + 0.03 * without_states


def test_the_checkpoint_with_the_least_validation_loss_stays(tmp_path: Path) -> None:
    """Validated where the model agrees with itself least, the classifier soon gets worse."""
    model, rows = model_and_rows()
    table = curves.losses(
        "classifier", train_classifier(model, rows[8:], rows[:8], tmp_path, classifier_steps=40, batch_size=32)
    )
    validation = table.set_index("step")["validation_loss"].dropna()
    assert validation.index.tolist() == list(range(4, 41, 4))
    batch = DataCollatorForSeq2Seq(model.tokenizer, model=model.backbone)(rows[:8])
    frozen = trainers.FrozenWithClassifier(model, "independent", balanced=False)
    frozen.classifier = model.learned["classifier"]
    assert frozen(**batch)["loss"].item() == pytest.approx(validation.min(), rel=1e-5)
    assert validation.idxmin() < 40


def test_nothing_else_is_trained(tmp_path: Path) -> None:
    model, rows = model_and_rows()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    train_classifier(model, rows, rows, tmp_path, bf16=True)
    for name, value in before.items():
        torch.testing.assert_close(model.backbone.state_dict()[name], value, rtol=0, atol=0)


def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(folder: Path) -> tuple[Tensor, pd.DataFrame]:
        model, rows = model_and_rows()
        history = train_classifier(model, rows[8:], rows[:8], folder, classifier_steps=20)
        return model.learned["classifier"].linear.weight, curves.losses("classifier", history)

    whole, whole_table = end(tmp_path / "whole")
    plain, calls = trainers.exit_classifier_losses, [0]

    def counted(*arguments: object) -> Tensor:
        calls[0] += 1
        if calls[0] == stop:
            raise KeyboardInterrupt
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainers, "exit_classifier_losses", counted)
    stop = 30
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "broken")
    done_before, calls[0], stop = calls[0], 0, -1
    resumed, resumed_table = end(tmp_path / "broken")
    assert 0 < calls[0] <= 40 - done_before + 4  # 20 batches that train and 20 that validate, less what was done
    torch.testing.assert_close(resumed, whole)
    pd.testing.assert_frame_equal(resumed_table, whole_table)
    calls[0] = 0
    again, again_table = end(tmp_path / "broken")
    assert calls[0] == 0
    torch.testing.assert_close(again, whole)
    pd.testing.assert_frame_equal(again_table, whole_table)


def test_each_evaluation_is_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, rows = model_and_rows()
    with caplog.at_level(logging.INFO, logger="calm_bench"):
        train_classifier(model, rows, rows[:8], tmp_path, classifier_steps=2)
    lines = [entry.getMessage() for entry in caplog.records if entry.name.startswith("calm_bench")]
    assert [line.partition(" loss")[0] for line in lines] == [
        f"exit classifier, step {step} of 2: validation" for step in (1, 2)
    ]
