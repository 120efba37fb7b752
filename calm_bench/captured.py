"""Capturing what is launched on a stream as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

Pool = Any  # what torch.cuda.graph_pool_handle gives: its type has changed


class Captured:
    """Launches that one call starts anew; they, and so the memory that they refer to, live as long as this."""

    def __init__(self, launch: Callable[[], object], device: torch.device, pool: Pool | None = None) -> None:
        """Launch once, which compiles what has to be compiled, then capture.

        What the launches allocate is theirs alone, or with a `pool` is shared with that pool's other captures: each
        must then leave its result elsewhere.
        """
        self._launch = launch
        self._graph = _captured(launch, device, pool) if device.type == "cuda" else None

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:  # on a CPU, where tests run the kernels by Triton's interpreter
            self._launch()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: memory that has been freed on one is not given out on another."""
    return torch.cuda.Stream(device)


def _captured(launch: Callable[[], object], device: torch.device, pool: Pool | None) -> torch.cuda.CUDAGraph:
    stream = _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        launch()
        stream.synchronize()
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")  # others may be loading data
        launch()
        graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)
    return graph
