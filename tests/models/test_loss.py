import pytest
import torch
from torch.nn import functional

from calm_bench.models.loss import (
    IGNORED,
    exit_classifier_losses,
    layer_agreement,
    layer_logits,
    layer_losses,
    layer_weights,
)
from tests.models_for_tests import VOCAB, random_t5


def test_index_weights_are_equation_6() -> None:
    torch.testing.assert_close(layer_weights("index", 8), torch.arange(1.0, 9) / 36)


@pytest.mark.parametrize("kind", ["index", "uniform", "last"])
def test_weights_sum_to_one(kind: str) -> None:
    assert layer_weights(kind, 5).sum() == pytest.approx(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("gated", [True, False])
def test_layer_losses_are_what_decoding_sees(gated: bool) -> None:
    """Each layer's loss is that of the model's own head on that layer's state; padding does not count."""
    model = random_t5(gated=gated, depth=3)
    inputs = torch.tensor([[5, 6, 1], [7, 1, 0]])
    labels = torch.tensor([[8, 9, 1], [10, 1, IGNORED]])
    outputs = model.backbone(
        input_ids=inputs, attention_mask=(inputs > 0).long(), labels=labels, output_hidden_states=True
    )
    losses = layer_losses(model.backbone, outputs, labels)
    targets = labels != IGNORED
    raw: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda *a: raw.append(a[2][0])) for block in model.backbone.decoder.block]
    model.backbone(input_ids=inputs, attention_mask=(inputs > 0).long(), labels=labels)
    for hook in hooks:
        hook.remove()
    for loss, state in zip(losses, raw, strict=True):
        torch.testing.assert_close(loss, functional.cross_entropy(model.head(state[targets]), labels[targets]))
    torch.testing.assert_close(losses[-1], outputs.loss)


@pytest.mark.parametrize("bf16", [False, True])
def test_losses_whose_logits_are_made_twice_have_the_gradients_of_those_that_are_kept(bf16: bool) -> None:
    """Dropout and bfloat16 autocast included: what is made again is what was."""
    inputs, labels = torch.tensor([[5, 6, 1], [7, 1, 0]]), torch.tensor([[8, 9, 1], [10, 1, IGNORED]])
    found = []
    for kept in (False, True):
        model = random_t5(depth=3, dropout=0.3).backbone.train()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = model(input_ids=inputs, labels=labels, output_hidden_states=True, use_cache=False)
            if kept:
                there = labels != IGNORED
                states = [state[there] for state in outputs.decoder_hidden_states[1:-1]]
                logits = [*(layer_logits(model, state) for state in states), outputs.logits[there]]
                losses = torch.stack([functional.cross_entropy(one.float(), labels[there]) for one in logits])
            else:
                losses = layer_losses(model, outputs, labels)
        (losses @ layer_weights("index", 3)).backward()
        found.append({"losses": losses, **{name: weight.grad for name, weight in model.named_parameters()}})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


def test_exit_classifier_learns_agreement_with_the_last_layer() -> None:
    model = random_t5(depth=3)
    inputs, labels = torch.tensor([[5, 6, 7, 1]]), torch.tensor([[8, 9, 10, 1]])
    outputs = model.backbone(input_ids=inputs, labels=labels, output_hidden_states=True)
    losses = exit_classifier_losses(model.learned["classifier"], model.backbone, outputs, labels)
    assert losses.shape == (2,)
    for layer, loss in enumerate(losses, 1):
        state = outputs.decoder_hidden_states[layer]
        agrees = (model.head(state).argmax(-1) == outputs.logits.argmax(-1)).float()
        torch.testing.assert_close(
            loss, functional.binary_cross_entropy(model.learned["classifier"](state[0]), agrees[0])
        )
    assert outputs.logits.shape[-1] == VOCAB


def classifier_loss(objective: str, balanced: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses (L - 1,); and for each layer and position, whether it agrees with the last, and the classifier's word."""
    model = random_t5(3, depth=4)
    inputs, labels = torch.tensor([[5, 6, 7, 1]]), torch.tensor([list(range(8, 40))])
    outputs = model.backbone(input_ids=inputs, labels=labels, output_hidden_states=True)
    classifier = model.learned["classifier"]
    losses = exit_classifier_losses(classifier, model.backbone, outputs, labels, objective, balanced)  # type: ignore[arg-type]
    states = torch.stack(outputs.decoder_hidden_states[1:-1])[:, 0]
    confidence = torch.stack([classifier(state) for state in states])
    return losses, model.head(states).argmax(-1) == outputs.logits[0].argmax(-1), confidence


def test_geometric_objective_is_the_likelihood_of_the_first_right_exit() -> None:
    losses, agrees, confidence = classifier_loss("geometric")
    total = torch.zeros(())
    for position in range(agrees.shape[1]):
        for layer in range(agrees.shape[0]):
            if agrees[layer, position]:
                total -= confidence[layer, position].log()
                break
            total -= (1 - confidence[layer, position]).log()
    torch.testing.assert_close(losses.sum(), total / agrees.shape[1])
    assert agrees[:-1].any()


def test_balance_weighs_a_label_by_the_others_share() -> None:
    losses, agrees, confidence = classifier_loss("independent", balanced=True)
    for loss, label, c in zip(losses, agrees, confidence, strict=True):
        share = label.float().mean()
        each = torch.where(label, -(1 - share) * c.log(), -share * (1 - c).log())
        torch.testing.assert_close(loss, each.mean())


def test_agreement_with_the_last_layer() -> None:
    model = random_t5(3, depth=4)
    inputs, labels = torch.tensor([[5, 6, 7, 1]]), torch.tensor([[*range(8, 40), IGNORED]])
    outputs = model.backbone(input_ids=inputs, labels=labels, output_hidden_states=True)
    agreement = layer_agreement(model.backbone, outputs, labels)
    states = outputs.decoder_hidden_states[2][0, :-1]
    assert agreement[1] == (model.head(states).argmax(-1) == outputs.logits[0, :-1].argmax(-1)).float().mean()
    assert agreement[-1] == 1
