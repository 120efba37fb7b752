"""What a decoder layer computes for one row, as Triton kernels; `decoding/layer.py` says the same in torch.

Activations are float32; weights, keys and values have the weights' dtype. At batch 1 a layer is eight products that
wait for one another, so latency is what counts: each kernel fetches its weights before it waits for its input. With
OVERLAP (programmatic dependent launch, from Hopper on) a kernel is launched while the ones before it still run:
nothing may be read before `await_input` that a kernel of the same graph writes.

Sizes: D is d, WIDTH is H d_kv, LENGTH is how many positions a buffer holds, X_PADDED is X rounded up to a power of two,
and BLOCK is how many rows of a matrix one program takes.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def let_next_start(OVERLAP: tl.constexpr):
    if OVERLAP:
        gdc_launch_dependents()


@triton.jit
def await_input(OVERLAP: tl.constexpr):
    if OVERLAP:
        gdc_wait()


@triton.jit
def rows_of(w, rows, ROWS: tl.constexpr, columns, COLUMNS: tl.constexpr):
    """Some rows of a matrix (ROWS, COLUMNS)."""
    inside = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    return tl.load(w + rows[:, None] * COLUMNS + columns[None, :], mask=inside, other=0.0)


@triton.jit
def times(matrix, x):
    return tl.sum(matrix.to(tl.float32) * x[None, :], 1)


@triton.jit
def inverse_rms(x, D: tl.constexpr, epsilon):
    return tl.rsqrt(tl.sum(x * x, 0) / D + epsilon)


@triton.jit
def store_keys_values(cache, rows, y, inside, position, D_KV: tl.constexpr, LENGTH: tl.constexpr):
    """Rows of K and V, counted through (L, 2, H, d_kv), at one position of a cache (L, 2, H, LENGTH, d_kv)."""
    tl.store(cache + (rows // D_KV * LENGTH + position) * D_KV + rows % D_KV, y, mask=inside)


@triton.jit
def project(
    w, state, query, cache, position, epsilon,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, D_KV: tl.constexpr, LENGTH: tl.constexpr,
    D: tl.constexpr, D_PADDED: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """w normed(state): the query (WIDTH,), and where w has more rows, K and V into the cache at the position."""
    let_next_start(OVERLAP)
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D_PADDED)
    matrix = rows_of(w, rows, ROWS, columns, D)
    await_input(OVERLAP)
    x = tl.load(state + columns, mask=columns < D, other=0.0)
    y = times(matrix, x) * inverse_rms(x, D, epsilon)
    tl.store(query + rows, y, mask=rows < WIDTH)
    if ROWS > WIDTH:
        inside = (rows >= WIDTH) & (rows < ROWS)
        store_keys_values(cache, rows - WIDTH, y, inside, tl.load(position), D_KV, LENGTH)


@triton.jit
def attend(
    query, keys, values, bias, length, mixed, highest, total,
    D_KV: tl.constexpr, D_KV_PADDED: tl.constexpr, LENGTH: tl.constexpr, TILE: tl.constexpr, SHARES: tl.constexpr,
    TO_ITSELF: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One head's attention to one of SHARES shares of its positions, TILE each, to be joined by `join_heads`.

    `length` holds the source's length, or with TO_ITSELF the newest position; bias (H, LENGTH) is by distance.
    Of the share's scores: values weighed by exp(score - highest), the highest score, and the sum of those weights.
    """
    let_next_start(OVERLAP)
    head = tl.program_id(0) // SHARES
    positions, channels = tl.program_id(0) % SHARES * TILE + tl.arange(0, TILE), tl.arange(0, D_KV_PADDED)
    if TO_ITSELF:
        await_input(OVERLAP)
    newest = tl.load(length) + TO_ITSELF - 1
    there = positions <= newest
    inside = there[:, None] & (channels < D_KV)[None, :]
    at = (head * LENGTH + positions[:, None]) * D_KV + channels[None, :]
    key, value = tl.load(keys + at, mask=inside, other=0.0), tl.load(values + at, mask=inside, other=0.0)
    if not TO_ITSELF:
        await_input(OVERLAP)
    q = tl.load(query + head * D_KV + channels, mask=channels < D_KV, other=0.0)
    score = times(key, q)
    if TO_ITSELF:
        score += tl.load(bias + head * LENGTH + newest - positions, mask=there, other=0.0)
    score = tl.where(there, score, float("-inf"))
    top = tl.maximum(tl.max(score, 0), -1e30)  # finite where a share has no position
    weight = tl.exp(score - top)
    out = tl.program_id(0)
    tl.store(mixed + out * D_KV + channels, tl.sum(value.to(tl.float32) * weight[:, None], 0), mask=channels < D_KV)
    tl.store(highest + out, top)
    tl.store(total + out, tl.sum(weight, 0))


@triton.jit
def join_heads(
    w, mixed, highest, total, state, out,
    HEADS: tl.constexpr, HEADS_PADDED: tl.constexpr, D_KV: tl.constexpr, D_KV_PADDED: tl.constexpr,
    SHARES: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """state + w mixed, of the shares that `attend` leaves."""
    let_next_start(OVERLAP)
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, HEADS_PADDED * D_KV_PADDED)
    of_head, of_channel = columns // D_KV_PADDED, columns % D_KV_PADDED
    inside = (rows < D)[:, None] & ((of_head < HEADS) & (of_channel < D_KV))[None, :]
    at = rows[:, None] * (HEADS * D_KV) + (of_head * D_KV + of_channel)[None, :]
    matrix = tl.load(w + at, mask=inside, other=0.0)
    await_input(OVERLAP)
    heads, channels = tl.arange(0, HEADS_PADDED), tl.arange(0, D_KV_PADDED)
    share = heads[:, None] * SHARES + tl.arange(0, SHARES)[None, :]
    used = share < HEADS * SHARES
    top = tl.load(highest + share, mask=used, other=0.0)
    weight = tl.exp(top - tl.max(top, 1)[:, None])
    weight = weight / tl.sum(weight * tl.load(total + share, mask=used, other=1.0), 1)[:, None]
    inside = used[:, :, None] & (channels < D_KV)[None, None, :]
    parts = tl.load(mixed + share[:, :, None] * D_KV + channels[None, None, :], mask=inside, other=0.0)
    joined = tl.reshape(tl.sum(parts * weight[:, :, None], 1), [HEADS_PADDED * D_KV_PADDED])
    tl.store(out + rows, tl.load(state + rows, mask=rows < D) + times(matrix, joined), mask=rows < D)


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        y = tl.maximum(x, 0.0)
    elif ACTIVATION == "gelu_new":
        y = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))  # 2 sqrt(2 / pi)
    elif ACTIVATION == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    else:
        y = x * tl.sigmoid(x)
    return y


@triton.jit
def widen(
    w, state, hidden, epsilon,
    D_FF: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr, BLOCK: tl.constexpr,
    GATED: tl.constexpr, ACTIVATION: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """act(w normed(state)), (D_FF,); GATED, the second D_FF rows of w weigh the first."""
    let_next_start(OVERLAP)
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D_PADDED)
    matrix = rows_of(w, rows, D_FF, columns, D)
    if GATED:
        gate = rows_of(w + D_FF * D, rows, D_FF, columns, D)
    await_input(OVERLAP)
    x = tl.load(state + columns, mask=columns < D, other=0.0)
    scale = inverse_rms(x, D, epsilon)
    y = activated(times(matrix, x) * scale, ACTIVATION)
    if GATED:
        y = y * times(gate, x) * scale
    tl.store(hidden + rows, y, mask=rows < D_FF)


@triton.jit
def narrow(
    w, hidden, state, out,
    D: tl.constexpr, D_FF: tl.constexpr, D_FF_PADDED: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """state + w hidden."""
    let_next_start(OVERLAP)
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D_FF_PADDED)
    matrix = rows_of(w, rows, D, columns, D_FF)
    await_input(OVERLAP)
    x = tl.load(hidden + columns, mask=columns < D_FF, other=0.0)
    tl.store(out + rows, tl.load(state + rows, mask=rows < D) + times(matrix, x), mask=rows < D)
