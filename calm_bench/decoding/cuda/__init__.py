"""The CUDA executor: one text under one rule at a time, Triton kernels in captured CUDA graphs.

From below: `kernels/` computes a layer, an exit and the measures for one row; `launches.py` puts kernels in order, in
sizes from `tiles.py`, on `weight_rows.py` and `buffers.py`; `graphs.py` captures what the host starts with one call;
`session.py` writes texts by starting graphs; `encoder.py` reads sources; `executor.py` is the `Executor`.

Nothing asks the device: it writes tokens and confidences into the host's memory, which the host polls. Where the exit
is known beforehand (full, static) or found by the device (oracle), a token is one graph, launched while the one before
it runs. Where a measure decides, a layer and its question are one graph. Waiting for the answer before launching the
next layer costs about half a layer of a small model; launching it ahead costs a quarter of one where it is needed, and
a whole one where it is not. So a layer is launched ahead where tokens have mostly gone on from the one below.

One H100, T5 v1.1, source 512, 100 tokens, bfloat16 weights, medians in us a token (small / base / large):
full depth 133 / 264 / 543; state asked at every layer, never leaving 156 / 289 / 640; leaving at layer 2 55 / 81 / 115.
"""
