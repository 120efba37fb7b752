"""The CUDA executor on a CPU, where nothing is captured and torch does the kernels' work; it notes what is launched."""

from __future__ import annotations

from calm_bench.choices import StateCopying
from calm_bench.decoding.cuda.buffers import Buffers
from calm_bench.decoding.cuda.executor import Cuda
from calm_bench.decoding.cuda.launches_in_torch import LaunchesInTorch
from calm_bench.decoding.cuda.tiles import Tiles
from calm_bench.measures import Measure
from calm_bench.models.weights import Weights


class RecordedLaunches(LaunchesInTorch):
    def __init__(self, weights: Weights, buffers: Buffers) -> None:
        super().__init__(weights, buffers)
        self.launched: list[str] = []

    def layer(self, layer: int) -> None:
        self.launched.append(f"layer {layer}")
        super().layer(layer)

    def ask(self, measure: Measure, layer: int) -> None:
        self.launched.append(f"ask {layer}")
        super().ask(measure, layer)

    def leave(self, layer: int | None, copying: StateCopying, *, token_known: bool) -> None:
        self.launched.append(f"leave {layer}")
        super().leave(layer, copying, token_known=token_known)


class CudaInTorch(Cuda):
    def _launches(self, tiles: Tiles, buffers: Buffers) -> RecordedLaunches:
        self.launches = RecordedLaunches(self._weights, buffers)
        return self.launches
