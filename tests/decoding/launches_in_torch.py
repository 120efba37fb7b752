"""What `cuda.launches.Launches` does to its buffers, in torch: so the host's part runs on a CPU, without Triton."""

from __future__ import annotations

import torch
from torch import Tensor

from calm_bench.choices import StateCopying
from calm_bench.decoding.cuda.buffers import BROKEN, Buffers
from calm_bench.decoding.cuda.executor import Cuda
from calm_bench.decoding.cuda.tiles import Tiles
from calm_bench.decoding.layer import Context, Layers, embed, head, keys_values, normed
from calm_bench.measures import Measure, Visit
from calm_bench.models.weights import Weights


class LaunchesInTorch:
    def __init__(self, weights: Weights, buffers: Buffers) -> None:
        self.weights, self.buffers = weights, buffers
        self.launched: list[str] = []

    def start(self) -> None:
        self.buffers.position.zero_()
        self.buffers.states[0] = embed(self.weights, torch.tensor(self.weights.tokens.start))

    def layer(self, layer: int) -> None:
        self.launched.append(f"layer {layer}")
        buffers = self.buffers
        source = Context(buffers.cross[:, :, None, :, : int(buffers.source_length)], None)
        layers = Layers(self.weights, source, buffers.positions + 1)
        buffers.states[layer] = layers.run(layer, buffers.states[layer - 1][None], self)[0]

    @property
    def step(self) -> int:
        return int(self.buffers.position)

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        cache = self.buffers.cache[layer - 1]
        cache[:, :, self.step] = keys_values[0]
        keys, values = cache[:, None, :, : self.step + 1].float().unbind()
        return keys, values

    def spread(self, queries: Tensor) -> Tensor:
        return queries[:, :, None]

    def gather(self, mixed: Tensor) -> Tensor:
        return mixed.flatten(1)

    def ask(self, measure: Measure, layer: int) -> None:
        self.launched.append(f"ask {layer}")
        states = self.buffers.states
        visit = Visit(layer, states[layer][None], states[layer - 1][None], self._head, self.weights.learned)
        self.buffers.confidences[self.step, layer - 1] = measure.confidence(visit)[0]

    def find_agreeing_layer(self) -> None:
        tokens = self._head(self.buffers.states[1:]).argmax(-1)
        self.buffers.exit_layer[0] = (tokens == tokens[-1]).int().argmax() + 1

    def leave(self, layer: int | None, copying: StateCopying, *, token_known: bool) -> None:
        weights, buffers, step = self.weights, self.buffers, self.step
        exit_layer = int(buffers.exit_layer) if layer is None else layer
        self.launched.append(f"leave {exit_layer}")
        match copying:
            case "exit_state" | "first_state":
                state = buffers.states[exit_layer if copying == "exit_state" else 1]
                for above in range(exit_layer + 1, weights.depth + 1):
                    buffers.cache[above - 1, :, :, step] = keys_values(weights, above, normed(weights, state[None]))[0]
            case "projected_kv":
                buffers.cache[exit_layer:, :, :, step] = buffers.cache[exit_layer - 1, :, :, step]
        state = buffers.states[exit_layer]
        token = int(self._head(state[None]).argmax())
        buffers.written[step] = (exit_layer << 32) + (BROKEN if state.isnan().any() else token)
        buffers.position += 1
        buffers.states[0] = embed(weights, torch.tensor(token))

    def _head(self, states: Tensor) -> Tensor:
        return head(self.weights, states)


class CudaInTorch(Cuda):
    """The CUDA executor with `LaunchesInTorch` in place of its kernels."""

    def _launches(self, tiles: Tiles, buffers: Buffers) -> LaunchesInTorch:  # type: ignore[override]
        self.launches = LaunchesInTorch(self._weights, buffers)
        return self.launches
