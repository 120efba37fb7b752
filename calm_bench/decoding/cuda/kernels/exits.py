"""What happens at an exit, as Triton kernels: the token it gives, and what the skipped layers are given.

Names and the rule about OVERLAP are as in `layer.py`. An exit layer is read from memory, a number in 1..L, so that
the device may have chosen it itself; states (L + 1, D) are those before layer 1 and after each layer.
"""

from __future__ import annotations

import triton
import triton.language as tl

from calm_bench.decoding.cuda import buffers
from calm_bench.decoding.cuda.kernels.layer import (
    await_input,
    inverse_rms,
    let_next_start,
    rows_of,
    store_keys_values,
    times,
)

BROKEN = tl.constexpr(buffers.BROKEN)
LOWEST = tl.constexpr(-1e30)  # below any logit, and finite: differences of two of them are no NaN


@triton.jit
def start_text(embedding, token, state, position, D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr):
    let_next_start(OVERLAP)
    columns = tl.arange(0, D_PADDED)
    await_input(OVERLAP)
    x = tl.load(embedding + token * D + columns, mask=columns < D)
    tl.store(state + columns, x.to(tl.float32), mask=columns < D)
    tl.store(position, 0)


@triton.jit
def sortable(logit, token, VOCAB: tl.constexpr):
    """A number whose order is that of logits, and among equal logits that of tokens, the first token being highest."""
    bits = logit.to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    earliness = tl.maximum(VOCAB - token, 0)  # 0 for rows beyond the vocabulary
    return (bits.to(tl.int64) << 32) | earliness.to(tl.int64)


@triton.jit
def token_of(number, VOCAB: tl.constexpr):
    return VOCAB - (number & 0xFFFFFFFF).to(tl.int32)


@triton.jit
def predict(
    head, states, exit_layer, best, statistics, epsilon, program,
    PROGRAMS: tl.constexpr, VOCAB: tl.constexpr, REPEATS: tl.constexpr, BLOCK: tl.constexpr, STATISTICS: tl.constexpr,
    D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """The head's logits of REPEATS blocks of tokens: the best token, and with STATISTICS what measures need of them."""
    columns, rows = tl.arange(0, D_PADDED), program * BLOCK * REPEATS + tl.arange(0, BLOCK)
    matrix = rows_of(head, rows, VOCAB, columns, D)
    await_input(OVERLAP)
    layer = tl.load(exit_layer)
    x = tl.load(states + layer * D + columns, mask=columns < D, other=0.0)
    x = x * inverse_rms(x, D, epsilon)
    top = tl.where(rows < VOCAB, times(matrix, x), LOWEST)
    second = tl.full([BLOCK], LOWEST, tl.float32)
    token, total, weighted = rows, tl.full([BLOCK], 1.0, tl.float32), top
    for _ in range(1, REPEATS):
        rows += BLOCK
        logit = tl.where(rows < VOCAB, times(rows_of(head, rows, VOCAB, columns, D), x), LOWEST)
        higher = tl.maximum(top, logit)
        if STATISTICS:
            second = tl.maximum(second, tl.minimum(top, logit))
            old, new = tl.exp(top - higher), tl.exp(logit - higher)
            total, weighted = total * old + new, weighted * old + logit * new
        token = tl.where(logit > top, rows, token)
        top = higher
    number = tl.max(sortable(top, token, VOCAB), 0)
    tl.store(best + layer * PROGRAMS + program, number)
    if STATISTICS:
        at = statistics + layer * 4 * PROGRAMS + program
        highest = tl.max(top, 0)
        scale = tl.exp(top - highest)
        beaten = tl.where(token == token_of(number, VOCAB), second, top)
        tl.store(at, highest)
        tl.store(at + PROGRAMS, tl.max(beaten, 0))
        tl.store(at + 2 * PROGRAMS, tl.sum(total * scale, 0))
        tl.store(at + 3 * PROGRAMS, tl.sum(weighted * scale, 0))


@triton.jit
def fill_skipped(
    self_keys_values, states, exit_layer, copied_layer, cache, position, epsilon, program,
    DEPTH: tl.constexpr, WIDTH: tl.constexpr, D_KV: tl.constexpr, LENGTH: tl.constexpr, BLOCK: tl.constexpr,
    D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """Some rows of the skipped layers' projections of the state after `copied_layer`."""
    columns = tl.arange(0, D_PADDED)
    await_input(OVERLAP)
    rows = tl.load(exit_layer) * 2 * WIDTH + program * BLOCK + tl.arange(0, BLOCK)
    inside = rows < DEPTH * 2 * WIDTH
    at = rows.to(tl.int64)[:, None] * D + columns[None, :]
    matrix = tl.load(self_keys_values + at, mask=inside[:, None] & (columns < D)[None, :], other=0.0)
    x = tl.load(states + tl.load(copied_layer) * D + columns, mask=columns < D, other=0.0)
    y = times(matrix, x) * inverse_rms(x, D, epsilon)
    store_keys_values(cache, rows, y, inside, tl.load(position), D_KV, LENGTH)


@triton.jit
def leave(
    head, self_keys_values, states, exit_layer, copied_layer, cache, position, best, statistics, epsilon,
    HEAD_PROGRAMS: tl.constexpr, VOCAB: tl.constexpr, REPEATS: tl.constexpr, HEAD_BLOCK: tl.constexpr,
    STATISTICS: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr, D_KV: tl.constexpr, LENGTH: tl.constexpr,
    BLOCK: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """The first HEAD_PROGRAMS programs apply the head to the exit layer's state; the others fill skipped layers.

    Each head program writes its best token to best (L + 1, programs), `sortable`, and with STATISTICS the four numbers
    of `confidence_of_logits` to statistics (L + 1, 4, programs). self_keys_values is (L, 2 WIDTH, D).
    """
    let_next_start(OVERLAP)
    program = tl.program_id(0)
    if program < HEAD_PROGRAMS:
        predict(
            head, states, exit_layer, best, statistics, epsilon, program,
            HEAD_PROGRAMS, VOCAB, REPEATS, HEAD_BLOCK, STATISTICS, D, D_PADDED, OVERLAP,
        )  # fmt: skip
    else:
        fill_skipped(
            self_keys_values, states, exit_layer, copied_layer, cache, position, epsilon, program - HEAD_PROGRAMS,
            DEPTH, WIDTH, D_KV, LENGTH, BLOCK, D, D_PADDED, OVERLAP,
        )  # fmt: skip


@triton.jit
def copy_keys_values(
    exit_layer, cache, position,
    WIDTH: tl.constexpr, ROWS_PADDED: tl.constexpr, D_KV: tl.constexpr, LENGTH: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """Program p gives layer p + 2 the exit layer's K and V, if it was skipped."""
    let_next_start(OVERLAP)
    rows = tl.arange(0, ROWS_PADDED)
    await_input(OVERLAP)
    source, skipped = tl.load(exit_layer) - 1, tl.program_id(0) + 1
    inside = (rows < 2 * WIDTH) & (skipped > source)
    of_layer = 2 * WIDTH * LENGTH
    at = (rows // D_KV * LENGTH + tl.load(position)) * D_KV + rows % D_KV
    tl.store(cache + skipped * of_layer + at, tl.load(cache + source * of_layer + at, mask=inside), mask=inside)


@triton.jit
def find_agreeing_layer(
    best, exit_layer,
    HEAD_PROGRAMS: tl.constexpr, PROGRAMS_PADDED: tl.constexpr, VOCAB: tl.constexpr, DEPTH: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    """The oracle's exit layer: the first whose token is the last layer's."""
    let_next_start(OVERLAP)
    programs = tl.arange(0, PROGRAMS_PADDED)
    await_input(OVERLAP)
    inside = programs < HEAD_PROGRAMS
    numbers = tl.load(best + DEPTH * HEAD_PROGRAMS + programs, mask=inside, other=-(1 << 62))
    last, earliest = token_of(tl.max(numbers, 0), VOCAB), DEPTH
    for below in range(1, DEPTH):
        layer = DEPTH - below
        numbers = tl.load(best + layer * HEAD_PROGRAMS + programs, mask=inside, other=-(1 << 62))
        earliest = tl.where(token_of(tl.max(numbers, 0), VOCAB) == last, layer, earliest)
    tl.store(exit_layer, earliest)


@triton.jit
def write_token(
    best, states, exit_layer, embedding, position, written,
    HEAD_PROGRAMS: tl.constexpr, PROGRAMS_PADDED: tl.constexpr, VOCAB: tl.constexpr,
    D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """Write exit layer and token into the host's memory, (layer << 32) + token, and begin the next position.

    The token is the highest of 32 bits where the exit layer's state has a NaN.
    """
    let_next_start(OVERLAP)
    programs, columns = tl.arange(0, PROGRAMS_PADDED), tl.arange(0, D_PADDED)
    await_input(OVERLAP)
    layer, now = tl.load(exit_layer), tl.load(position)
    inside = programs < HEAD_PROGRAMS
    numbers = tl.load(best + layer * HEAD_PROGRAMS + programs, mask=inside, other=-(1 << 62))
    token = token_of(tl.max(numbers, 0), VOCAB)
    state = tl.load(states + layer * D + columns, mask=columns < D, other=0.0)
    is_broken = tl.max((state != state).to(tl.int32), 0) > 0
    tl.store(written + now, (layer.to(tl.int64) << 32) + tl.where(is_broken, BROKEN, token.to(tl.int64)))
    tl.store(position, now + 1)
    x = tl.load(embedding + tl.where(is_broken, 0, token) * D + columns, mask=columns < D)
    tl.store(states + columns, x.to(tl.float32), mask=columns < D)
