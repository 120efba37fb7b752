"""The arithmetic of a decoder with exits, one step of n rows at a time; which rows run where is the executor's affair.

n rows, t positions so far, E examples with sources of S tokens, w the most rows that an example has; d, H, d_kv, V and
L as in `Weights`. Activations are float32; bfloat16 weights are widened as they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear as float32_linear
from torch.nn.functional import scaled_dot_product_attention

from calm_bench.decoding.position_bias import decoder_bias
from calm_bench.models.weights import FeedForward, Weights


@dataclass(frozen=True)
class Context:
    """What the texts of E encoded examples attend to beside themselves.

    Attributes:
        keys_values: K and V of the encoder's states for each decoder layer, (L, 2, E, H, S, d_kv), in the weights'
            dtype.
        padding: 0 on tokens and -inf on padding, (E, 1, 1, S); None when nothing is padded.
    """

    keys_values: Tensor
    padding: Tensor | None

    @property
    def examples(self) -> int:
        return self.keys_values.shape[2]


class Rows(Protocol):
    """The n rows that run through a layer, as far as the arithmetic asks about them."""

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's K and V of this step, (n, 2, H, d_kv); all so far, (n, H, t, d_kv) each."""

    def bias(self, by_distance: Tensor) -> Tensor:
        """Towards those t positions, (1, H, 1, t), of the bias by distance, (1, H, 1, N): N - 1 first, 0 last."""

    def spread(self, queries: Tensor) -> Tensor:
        """(n, H, d_kv) as (E, H, w, d_kv): the rows of an example side by side."""

    def gather(self, mixed: Tensor) -> Tensor:
        """The inverse, heads joined: (E, H, w, d_kv) as (n, H d_kv)."""


class Layers:
    """The decoder layers of a model on one batch of encoded examples, for texts of at most `max_new_tokens`."""

    def __init__(self, weights: Weights, context: Context, max_new_tokens: int) -> None:
        self._weights = weights
        self._bias = decoder_bias(weights, max_new_tokens)  # (1, H, 1, N)
        self._cross = [layer.unbind() for layer in context.keys_values.unbind()]  # L x K, V (E, H, S, d_kv)
        self._padding = context.padding  # (E, 1, 1, S) or None

    def run(self, layer: int, x: Tensor, rows: Rows) -> Tensor:
        """States after `layer` (1..L), (n, d), from the states before it; the rows keep its keys and values."""
        w = self._weights.decoder_layers[layer - 1]
        heads, d_kv = self._weights.heads, self._weights.d_kv

        qkv = linear(normed(self._weights, x), w.qkv).view(-1, 3, heads, d_kv)  # (n, 3, H, d_kv)
        keys, values = rows.append(layer, qkv[:, 1:])  # (n, H, t, d_kv)
        mixed = attend(qkv[:, 0, :, None], keys, values, rows.bias(self._bias))  # (n, H, 1, d_kv)
        x = addmm(x, mixed.reshape(len(x), -1), w.out)  # (n, d)

        query = linear(normed(self._weights, x), w.cross_query).view(-1, heads, d_kv)  # (n, H, d_kv)
        keys, values = self._cross[layer - 1]  # (E, H, S, d_kv)
        mixed = attend(rows.spread(query), keys.float(), values.float(), self._padding)  # (E, H, w, d_kv)
        x = addmm(x, rows.gather(mixed), w.cross_out)  # (n, d)

        return feed_forward(w.feed_forward, x, normed(self._weights, x))  # (n, d)


def embed(weights: Weights, token_ids: Tensor) -> Tensor:
    """Embeddings (..., d) of token ids (...)."""
    return weights.embedding[token_ids].float()


def normed(weights: Weights, x: Tensor) -> Tensor:
    """x over its root mean square, without the gain (which is folded into the next matrix)."""
    return torch.rms_norm(x, (x.shape[-1],), eps=weights.epsilon)


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(query keys^T + bias) values, (..., w, d_kv); T5 does not scale by the square root of d_kv."""
    return scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=1.0)


def feed_forward(w: FeedForward, x: Tensor, normed_x: Tensor) -> Tensor:
    """x + wo(act(wi x)), (n, d); gated, the first half of wi's rows pass the activation and weigh the second half."""
    hidden = linear(normed_x, w.wi)  # (n, d_ff or 2 d_ff)
    if w.gated:
        left, right = hidden.chunk(2, dim=-1)
        hidden = w.activation(left) * right  # (n, d_ff)
    else:
        hidden = w.activation(hidden)
    return addmm(x, hidden, w.wo)


def head(weights: Weights, states: Tensor, among: Tensor | None = None) -> Tensor:
    """Logits (n, V) of states (n, d) of any layer, or those of the tokens among (n, k) alone."""
    if among is None:
        return linear(normed(weights, states), weights.head)
    return (weights.head[among].float() @ normed(weights, states)[..., None]).squeeze(-1)


def keys_values(weights: Weights, layer: int, normed_states: Tensor) -> Tensor:
    """What a layer (1..L) projects from normed states (n, d) for its self-attention, (n, 2, H, d_kv)."""
    rows = 2 * weights.heads * weights.d_kv
    projected = linear(normed_states, weights.self_keys_values[(layer - 1) * rows : layer * rows])
    return projected.view(len(normed_states), 2, weights.heads, weights.d_kv)


def linear(x: Tensor, w: Tensor) -> Tensor:
    """x w^T in float32."""
    return float32_linear(x, w if w.dtype is torch.float32 else w.float())


def addmm(x: Tensor, a: Tensor, w: Tensor) -> Tensor:
    """x + a w in float32."""
    return torch.addmm(x, a, w if w.dtype is torch.float32 else w.float())
