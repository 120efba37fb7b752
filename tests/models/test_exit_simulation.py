"""Training that has seen copied states: it must be what decoding does."""

import torch

from calm_bench.decoding.state_copying import source
from calm_bench.models.exit_simulation import frozen_above, random_exit_layers
from calm_bench.models.loss import IGNORED, layer_losses
from tests.models_for_tests import random_t5

EXITS = [2, 4, 1, 4, 3, 4]


@torch.no_grad()
def test_a_frozen_position_is_what_decoding_copies() -> None:
    """The states of positions that run to the end, by the reference's own layers and its own word on copying."""
    model = random_t5(5, depth=4)
    ids, targets = torch.tensor([[7, 9, 11, 1]]), torch.tensor([[0, 20, 21, 22, 23, 24]])
    context = model.read(ids[0].tolist())
    pasts: list[list[tuple[int, torch.Tensor]]] = [[] for _ in range(4)]
    expected = []
    for step, exit_layer in enumerate(EXITS):
        states = [model.embed(int(targets[0, step]))]
        for layer, past in enumerate(pasts, 1):
            past.append((layer, states[-1]))
            states.append(model.run_layer(layer, states[-1], past, context))
        for layer in range(exit_layer + 1, 5):
            projecting, projected = source("exit_state", layer, exit_layer)
            pasts[layer - 1][step] = projecting, states[projected]
        expected.append(model.head(states[exit_layer]))
    with frozen_above(model.backbone, torch.tensor([EXITS])):
        simulated = model.backbone(input_ids=ids, decoder_input_ids=targets).logits
    torch.testing.assert_close(simulated, torch.cat(expected, dim=1), atol=1e-5, rtol=1e-4)
    plain = model.backbone(input_ids=ids, decoder_input_ids=targets).logits  # nothing is left behind
    assert not torch.allclose(plain[0, -1], simulated[0, -1], atol=1e-3)


def test_exit_layers_are_drawn_alike_and_at_the_share() -> None:
    torch.manual_seed(0)
    layers = random_exit_layers(torch.zeros(100, 100), 5, 0.4)
    assert abs((layers < 5).float().mean().item() - 0.4) < 0.03
    counts = torch.bincount(layers.flatten(), minlength=6)[1:5]
    assert counts.min() > 0.85 * counts.max()
    assert (random_exit_layers(torch.zeros(9, 9), 1, 0.9) == 1).all()


def test_a_position_counts_up_to_its_exit() -> None:
    model = random_t5(depth=3)
    inputs, labels = torch.tensor([[5, 6, 1]]), torch.tensor([[8, 9, 10, IGNORED]])
    outputs = model.backbone(input_ids=inputs, labels=labels, output_hidden_states=True)
    losses = layer_losses(model.backbone, outputs, labels, torch.tensor([[1, 3, 2, 3]]))
    for layer, kept in ((1, [8, 9, 10]), (2, [9, 10]), (3, [9])):
        alone = torch.tensor([[token if token in kept else IGNORED for token in labels[0].tolist()]])
        torch.testing.assert_close(losses[layer - 1], layer_losses(model.backbone, outputs, alone)[layer - 1])
    assert layer_losses(model.backbone, outputs, labels, torch.ones_like(labels))[2] == 0  # nobody came so far
