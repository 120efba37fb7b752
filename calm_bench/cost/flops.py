"""Decoder FLOPs of one generation, from its exit layers alone; a multiply-add counts as two.

Two counts. `elbayad` is the column that the paper prints (CALM Appendix C.1; Elbayad et al. 2020, Appendix B): it takes
attention to be as wide as the model and the feed-forward layer to have two matrices, neither of which is true of
T5 v1.1. `t5` counts the matrix products that a T5 decoder really makes. Both leave out what is linear in the width
(norms, softmax, activations, biases), except for the measures, and both leave out the encoder.

Layers count 1..L. Positions count 1..T: at position t a token attends to t tokens, itself included.

Measures: "softmax", "state" and "classifier" decide at every layer they visit; any other is given as an object that
says what asking it costs. "static" is a model of its exit layer's
depth: the layers above do not exist for it. "full" runs every layer. "oracle" is not a real method: it knows the full
model's answer beforehand and pays nothing for that, so its count is what no real measure can go below. `Drafts` stand
for a speculative rule, which is counted as the full model for each token that it runs to the end, kept or not, and a
head for each draft.
"""

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from calm_bench.errors import InputError

MEASURES = ("softmax", "state", "classifier", "static", "oracle", "full")


class Asking(Protocol):
    """A confidence measure, as far as its cost goes (every `calm_bench.measures.Measure` is one)."""

    @property
    def needs_logits(self) -> bool:
        """Whether asking computes the whole output head, so that a token which leaves there has it already."""

    @property
    def own_token(self) -> bool:
        """Whether a token that leaves early is of the measure's own choice, and so needs no head."""

    def flops(self, layer: int, d_model: int, vocab: int) -> float:
        """FLOPs of asking about one token after this layer."""


@dataclass(frozen=True)
class Drafts:
    """A speculative rule: exits after `layer` draft `count` tokens, and each of them and one more is run to the end."""

    layer: int
    count: int

    def repeats(self, q: np.ndarray, layers: int) -> float:
        """Tokens run to the end for each token kept, of tokens whose drafts were kept (q = layer) or not (q = L)."""
        rounds = (q == layers).sum() + (q[-1] != layers)
        return float(rounds * (self.count + 1) / len(q))


@dataclass(frozen=True)
class Shape:
    """The sizes that decide a decoder's cost; all but `gated` are whole numbers of at least 1, else InputError.

    layers: L. d_model: width of the decoder. d_attention: heads times d_kv. d_ff: inner width of the feed-forward.
    gated: three feed-forward matrices (T5 v1.1) instead of two. vocab: rows of the output head, padding included.
    d_encoder: width of the encoder states.
    """

    layers: int
    d_model: int
    d_attention: int
    d_ff: int
    gated: bool
    vocab: int
    d_encoder: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < (0 if field.name == "gated" else 1):
                raise InputError(f"shape.{field.name}={getattr(self, field.name)}: must be at least 1")


def elbayad(
    exit_layers: ArrayLike,
    source_length: int,
    shape: Shape,
    measure: str | Asking | Drafts,
) -> float:
    """The paper's count, as printed. Per token that left at layer q of N = L, at position t of a source of |x| tokens:

        q FC + (N - q) FS + FP + 2 V d          (no last term where FP includes it)
        FC = 12 d^2 + 4 d_f d + 4 t d + 4 |x| d + [first call of the layer] 4 |x| d d_e
        FS = 4 d^2                              (keys and values of a skipped layer)
        FP = 2 V d q (softmax), 2 d q (classifier), 0 (static, oracle, full), else what the measure says of q layers

    The encoder states are projected to keys and values once per generation by the layers that some token reaches, as
    the formula is worded. Of the published CNN/DM rows, classifier and state fit a projection by all N layers to 0.3%,
    softmax fits neither. The formula has no term for state; a cosine costs 4 d q here: a dot product and a norm.

    `exit_layers` (T,) in 1..L, T >= 1; `source_length` in tokens, >= 1. Returns FLOPs summed over the T tokens.
    Raises InputError on anything else, an unknown measure, and static or full with layers that contradict them.
    """
    q = _check(exit_layers, source_length, shape, measure)
    if isinstance(measure, Drafts):
        full = np.full_like(q, shape.layers)
        return _drafted(q, shape, measure, elbayad(full, source_length, shape, "full"))
    depth = _depth(q, shape, measure)
    d, t = shape.d_model, np.arange(1, len(q) + 1)

    layer = 12 * d**2 + 4 * shape.d_ff * d + 4 * t * d + 4 * source_length * d
    skipped = 4 * d**2
    cross = 4 * source_length * d * shape.d_encoder * q.max()
    head = 2 * shape.vocab * d
    asked, includes_head = _asked(measure, shape)
    decision = asked[q]
    final = np.where(q == shape.layers, head, 0) if _own_token(measure) else 0 if includes_head else head
    return float((q * layer + (depth - q) * skipped + decision + final).sum() + cross)


def t5(exit_layers: ArrayLike, source_length: int, shape: Shape, measure: str | Asking | Drafts) -> float:
    """The true count for a T5 decoder with cached keys and values. Per token that left at layer q, a = d_attention:

    - each of the q visited layers: 8 d a (self-attention Q, K, V, O), 4 t a (its scores and values), 4 d a (cross
      Q, O), 4 |x| a (its scores and values), 6 d d_ff gated or 4 d d_ff (feed-forward);
    - each of the L - q skipped layers: 4 d a (K and V of the copied state);
    - the output head, 2 V d: at the exit layer, unless the measure has computed it there;
    - the measure, where it decides, which is at every visited layer below L: softmax 2 V d, classifier 2 d, state 4 d
      (a dot product and a norm), else what it says. At layer L there is nothing left to decide.

    And per generation 4 |x| a d_encoder for each layer: K and V of the encoder states, projected for all L layers
    before the first token, when nobody knows which will be visited (for static, for the layers it has).

    Arguments, result and errors as in `elbayad`.
    """
    q = _check(exit_layers, source_length, shape, measure)
    if isinstance(measure, Drafts):
        return _drafted(q, shape, measure, t5(np.full_like(q, shape.layers), source_length, shape, "full"))
    depth = _depth(q, shape, measure)
    d, a, t = shape.d_model, shape.d_attention, np.arange(1, len(q) + 1)

    feed_forward = (6 if shape.gated else 4) * d * shape.d_ff
    layer = 8 * d * a + 4 * t * a + 4 * d * a + 4 * source_length * a + feed_forward
    skipped = 4 * d * a
    cross = 4 * source_length * a * shape.d_encoder * depth
    asked, includes_head = _asked(measure, shape)
    head = 2 * shape.vocab * d * np.where((includes_head or _own_token(measure)) & (q < shape.layers), 0, 1)
    decision = asked[np.minimum(q, shape.layers - 1)]
    return float((q * layer + (depth - q) * skipped + head + decision).sum() + cross)


def _drafted(q: np.ndarray, shape: Shape, drafts: Drafts, full: float) -> float:
    """FLOPs of a speculative rule, from those of the full model for the same tokens."""
    repeats = drafts.repeats(q, shape.layers)
    heads = repeats * len(q) * drafts.count / (drafts.count + 1)
    return repeats * full + heads * 2 * shape.vocab * shape.d_model


def _asked(measure: str | Asking, shape: Shape) -> tuple[np.ndarray, bool]:
    """FLOPs of asking a measure at layers 1..q, for q = 0..L, (L + 1,); and whether that includes the whole head."""
    d, layers = shape.d_model, range(1, shape.layers + 1)
    costs: list[float]
    if isinstance(measure, str):
        each = {"softmax": 2 * shape.vocab * d, "classifier": 2 * d, "state": 4 * d}.get(measure, 0)
        costs, includes_head = [each for _ in layers], measure == "softmax"
    else:
        costs, includes_head = [measure.flops(layer, d, shape.vocab) for layer in layers], measure.needs_logits
    return np.cumsum([0, *costs]), includes_head


def _own_token(measure: str | Asking) -> bool:
    return not isinstance(measure, str) and measure.own_token


def _depth(q: np.ndarray, shape: Shape, measure: str | Asking) -> int:
    """Layers that exist for this measure; above a static exit none is ever visited, so none needs keys or values."""
    return int(q[0]) if measure == "static" else shape.layers


def _check(exit_layers: ArrayLike, source_length: int, shape: Shape, measure: str | Asking | Drafts) -> np.ndarray:
    """The exit layers as int64 (T,), or InputError."""
    if isinstance(measure, str) and measure not in MEASURES:
        raise InputError(f"measure={measure!r}: must be one of {', '.join(MEASURES)}")
    if source_length < 1:
        raise InputError(f"source_length={source_length}: must be at least 1 token")
    q = np.asarray(exit_layers)
    if q.ndim != 1 or q.size == 0 or not np.issubdtype(q.dtype, np.integer):
        raise InputError(f"exit_layers with shape {q.shape} and type {q.dtype}: must be whole numbers, one per token")
    if q.min() < 1 or q.max() > shape.layers:
        raise InputError(f"exit_layers in {q.min()}..{q.max()}: must be in 1..{shape.layers}")
    if measure == "static" and q.min() != q.max():
        raise InputError(f"exit_layers in {q.min()}..{q.max()}: a static exit has one layer for every token")
    if measure == "full" and q.min() != shape.layers:
        raise InputError(f"exit_layers from {q.min()}: the full model runs all {shape.layers} layers for every token")
    return q.astype(np.int64)
