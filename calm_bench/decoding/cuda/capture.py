"""Capturing what is launched on a stream as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

Replay = Callable[[], None]


def captured(launch: Callable[[], object], device: torch.device) -> Replay:
    """Launch once, which compiles what has to be compiled, then capture; on a CPU, nothing is captured.

    What `launch` allocates belongs to the graph, and is written again by each replay.
    """
    if device.type == "cpu":  # Triton's interpreter, in tests

        def run() -> None:
            launch()

        return run
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        launch()
        stream.synchronize()
        graph.capture_begin()
        launch()
        graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)
    return graph.replay
