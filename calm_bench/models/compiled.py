"""Training steps by `torch.compile` and CUDA graphs: in a small model a step is mostly the launching of operations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as shapes

from calm_bench.captured import Captured

LENGTHS = 64  # batches are padded to multiples of so many tokens, as each shape has a graph of its own


@contextmanager
def compiled(sublayers: Iterable[nn.Module]) -> Iterator[None]:
    """While this holds, what each sublayer computes in training is compiled: once for all of a kind and all lengths.

    Between sublayers all is as ever, so that hooks see the states they ask for; and so is validation, which is seldom.
    """
    changed = list(sublayers)
    for sublayer in changed:
        sublayer.forward = _compiled_in_training(sublayer)
    try:
        with warnings.catch_warnings(), shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            # Sizes that are equal in one batch differ in others; and what inductor warns of is for its own authors.
            warnings.filterwarnings("ignore", module=r"torch\._inductor")
            yield
    finally:
        for sublayer in changed:
            del sublayer.forward  # the class has its own


def _compiled_in_training(sublayer: nn.Module) -> Callable[..., Any]:
    plain = sublayer.forward
    fast = torch.compile(plain, dynamic=True)

    def forward(*arguments: Any, **options: Any) -> Any:
        return (fast if sublayer.training else plain)(*arguments, **options)

    return forward


class Step(NamedTuple):
    """A captured step: it reads `inputs`, adds to the gradients and writes `loss`."""

    inputs: dict[str, Tensor]
    launch: Captured
    loss: list[Tensor]


class CapturedSteps:
    """Forward and backward passes on batches, as CUDA graphs: one for each shape, captured when it first comes.

    All have the same memory. The gradients lie in one block of it, where graphs find them again; a parameter whose
    gradient has been dropped begins at zero there.
    """

    def __init__(self, step: Callable[[dict[str, Tensor]], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        """`step` adds a batch's gradients to the parameters' and returns its loss; nothing in it may ask the device."""
        self._step, self._parameters = step, [parameter for parameter in parameters if parameter.requires_grad]
        self._device = self._parameters[0].device
        self._block = torch.zeros(sum(map(torch.numel, self._parameters)), device=self._device)
        parts = self._block.split([parameter.numel() for parameter in self._parameters])
        self._gradients = [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]
        self._pool = torch.cuda.graph_pool_handle() if self._device.type == "cuda" else None
        self._steps: dict[Hashable, Step] = {}

    def __call__(self, inputs: Mapping[str, Tensor], kind: Hashable = None) -> Tensor:
        """The loss of a batch. What else the step depends on has to be in `kind`."""
        key = kind, *((name, value.shape) for name, value in inputs.items())
        if any(parameter.grad is None for parameter in self._parameters):
            self._block.zero_()
            for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                parameter.grad = gradient
        if key not in self._steps:
            self._steps[key] = self._captured(inputs)
        step = self._steps[key]
        for name, value in inputs.items():
            step.inputs[name].copy_(value)
        step.launch()
        return step.loss[0].clone()

    def _captured(self, inputs: Mapping[str, Tensor]) -> Step:
        """Capturing takes the step once, for nothing: neither gradients nor chance are to know of it."""
        held = {name: value.clone() for name, value in inputs.items()}
        loss: list[Tensor] = []

        def launch() -> None:
            loss[:] = [self._step(dict(held))]

        before = self._block.clone()
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            captured = Captured(launch, self._device, self._pool)
        self._block.copy_(before)
        return Step(held, captured, loss)
