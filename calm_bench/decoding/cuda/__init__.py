"""The CUDA executor: one text under one rule at a time, Triton kernels in captured CUDA graphs.

From below: `kernels/` computes a layer, an exit and the measures for one row; `launches.py` puts kernels in order, in
sizes from `tiles.py`, on `weight_rows.py` and `buffers.py`; where no kernels can be had, `launches_in_torch.py` takes
its place; `graphs.py` captures what the host starts with one call; `session.py` writes texts by starting graphs;
`encoder.py` reads sources; `executor.py` is the `Executor`.

Nothing asks the device: it writes tokens and confidences into the host's memory, which the host polls. Where the exit
is known beforehand (full, static) or found by the device (oracle), a token is one graph, launched while the one before
it runs. Where a measure decides, a layer and its question are one graph. Waiting for the answer before launching the
next layer costs about half a layer of a small model; launching it ahead costs a quarter of one where it is needed, and
a whole one where it is not. So a layer is launched ahead where tokens have mostly gone on from the one below. Nested IF
nodes, by which the device itself decides within one graph a token, cost more at every depth when tried on an H200.

`examples/speed/gpu.py` measures it; docs/speed.md says what one card gave.
"""
