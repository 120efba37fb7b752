"""Confidence measures as Triton kernels; each writes its answer into the host's memory, which polls it.

confidences is (positions, L) and answers are to layer 1..L. Names and the rule about OVERLAP are as in `layer.py`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from calm_bench.decoding.cuda.kernels.exits import LOWEST
from calm_bench.decoding.cuda.kernels.layer import activated, await_input, inverse_rms, let_next_start, times


@triton.jit
def answer(confidence, confidences, position, layer, DEPTH: tl.constexpr):
    tl.store(confidences + tl.load(position) * DEPTH + layer - 1, confidence)


@triton.jit
def confidence_of_state(
    states, confidences, position, layer,
    DEPTH: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """Cosine of the state after the layer and the state before it."""
    let_next_start(OVERLAP)
    columns = tl.arange(0, D_PADDED)
    await_input(OVERLAP)
    x = tl.load(states + layer * D + columns, mask=columns < D, other=0.0)
    y = tl.load(states + (layer - 1) * D + columns, mask=columns < D, other=0.0)
    norms = tl.sqrt_rn(tl.sum(x * x, 0)) * tl.sqrt_rn(tl.sum(y * y, 0))
    answer(tl.sum(x * y, 0) / norms, confidences, position, layer, DEPTH)


@triton.jit
def confidence_of_classifier(
    weight, bias, states, confidences, position, layer,
    DEPTH: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """sigmoid(weight state + bias)."""
    let_next_start(OVERLAP)
    columns = tl.arange(0, D_PADDED)
    w = tl.load(weight + columns, mask=columns < D, other=0.0)
    await_input(OVERLAP)
    x = tl.load(states + layer * D + columns, mask=columns < D, other=0.0)
    answer(tl.sigmoid(tl.sum(w * x, 0) + tl.load(bias)), confidences, position, layer, DEPTH)


@triton.jit
def hidden_units(
    weight, bias, states, units, layer, epsilon,
    UNITS: tl.constexpr, D: tl.constexpr, D_PADDED: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """gelu(weight [normed state after the layer; normed state before it] + bias), (UNITS,); weight (UNITS, 2 D)."""
    let_next_start(OVERLAP)
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D_PADDED)
    inside = (rows < UNITS)[:, None] & (columns < D)[None, :]
    at = weight + rows[:, None] * (2 * D) + columns[None, :]
    of_state, of_previous = tl.load(at, mask=inside, other=0.0), tl.load(at + D, mask=inside, other=0.0)
    await_input(OVERLAP)
    x = tl.load(states + layer * D + columns, mask=columns < D, other=0.0)
    y = tl.load(states + (layer - 1) * D + columns, mask=columns < D, other=0.0)
    z = times(of_state, x) * inverse_rms(x, D, epsilon) + times(of_previous, y) * inverse_rms(y, D, epsilon)
    z += tl.load(bias + rows, mask=rows < UNITS, other=0.0)
    tl.store(units + rows, activated(z, "gelu_new"), mask=rows < UNITS)


@triton.jit
def confidence_of_units(
    weight, bias, units, confidences, position, layer,
    UNITS: tl.constexpr, UNITS_PADDED: tl.constexpr, DEPTH: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """sigmoid(weight units + bias)."""
    let_next_start(OVERLAP)
    columns = tl.arange(0, UNITS_PADDED)
    w = tl.load(weight + columns, mask=columns < UNITS, other=0.0)
    await_input(OVERLAP)
    x = tl.load(units + columns, mask=columns < UNITS, other=0.0)
    answer(tl.sigmoid(tl.sum(w * x, 0) + tl.load(bias)), confidences, position, layer, DEPTH)


@triton.jit
def confidence_of_logits(
    statistics, confidences, position, layer,
    HEAD_PROGRAMS: tl.constexpr, PROGRAMS_PADDED: tl.constexpr, VOCAB_LOG: tl.constexpr, MEASURE: tl.constexpr,
    DEPTH: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """Of each head program's logits l: highest, second highest, sum of exp(l - highest), sum of l exp(l - highest)."""
    let_next_start(OVERLAP)
    programs = tl.arange(0, PROGRAMS_PADDED)
    await_input(OVERLAP)
    at, inside = statistics + layer * 4 * HEAD_PROGRAMS + programs, programs < HEAD_PROGRAMS
    top = tl.load(at, mask=inside, other=LOWEST)
    highest = tl.max(top, 0)
    scale = tl.exp(top - highest)
    total = tl.sum(tl.load(at + 2 * HEAD_PROGRAMS, mask=inside, other=0.0) * scale, 0)
    if MEASURE == "softmax":
        winner = tl.min(tl.where(top == highest, programs, PROGRAMS_PADDED), 0)
        second = tl.load(at + HEAD_PROGRAMS, mask=inside, other=LOWEST)
        confidence = (1.0 - tl.exp(tl.max(tl.where(programs == winner, second, top), 0) - highest)) / total
    elif MEASURE == "max_prob":
        confidence = 1.0 / total
    else:
        weighted = tl.sum(tl.load(at + 3 * HEAD_PROGRAMS, mask=inside, other=0.0) * scale, 0)
        entropy = highest + tl.log(total) - weighted / total
        confidence = 1.0 - entropy / VOCAB_LOG
        confidence = tl.where(confidence < 0.0, 0.0, tl.where(confidence > 1.0, 1.0, confidence))
    answer(confidence, confidences, position, layer, DEPTH)
