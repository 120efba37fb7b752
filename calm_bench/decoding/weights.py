"""A T5's weights laid out for decoding one token at a time.

Weights are only read from transformers: nothing here calls its forward passes, so a release of theirs cannot change
what is decoded. Each RMS norm's gain is folded into the matrix that follows it; query, key and value are one matrix.
Weights may be held in bfloat16; activations are float32 always, because exits in bfloat16 activations are other exits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.activations import ACT2FN

from calm_bench.models.t5 import EarlyExitT5, head_scale


@dataclass(frozen=True)
class Products:
    """Products of float32 activations with weights: x w^T, and x + a w."""

    linear: Callable[[Tensor, Tensor], Tensor]
    addmm: Callable[[Tensor, Tensor, Tensor], Tensor]


# bfloat16 halves what the weights occupy; each matrix is widened when it is used.
PRODUCTS = {
    torch.float32: Products(functional.linear, torch.addmm),
    torch.bfloat16: Products(
        lambda x, w: functional.linear(x, w.float()),
        lambda x, a, w: torch.addmm(x, a, w.float()),
    ),
}


@dataclass(frozen=True)
class FeedForward:
    """x + wo(act(wi x)), or with a gate x + wo(act(wi_0 x) * wi_1 x)."""

    wi: Tensor  # (d_ff or 2 d_ff, d)
    wo: Tensor  # (d_ff, d)
    activation: Callable[[Tensor], Tensor]
    gated: bool
    products: Products

    def __call__(self, x: Tensor, normed: Tensor) -> Tensor:
        hidden = self.products.linear(normed, self.wi)
        if self.gated:
            left, right = hidden.chunk(2, dim=-1)
            hidden = self.activation(left) * right
        else:
            hidden = self.activation(hidden)
        return self.products.addmm(x, hidden, self.wo)


@dataclass(frozen=True)
class EncoderLayer:
    qkv: Tensor  # (3 H d_kv, d)
    out: Tensor  # (H d_kv, d)
    feed_forward: FeedForward


@dataclass(frozen=True)
class DecoderLayer:
    qkv: Tensor  # (3 H d_kv, d)
    out: Tensor  # (H d_kv, d)
    cross_query: Tensor  # (H d_kv, d)
    cross_out: Tensor  # (H d_kv, d)
    feed_forward: FeedForward


class FusedT5:
    """The weights of an `EarlyExitT5`, fused, in the model's `dtype` and on its device."""

    def __init__(self, model: EarlyExitT5) -> None:
        t5 = model.backbone
        config = t5.config
        self.heads: int = config.num_heads
        self.d_kv: int = config.d_kv
        self.d_model: int = config.d_model
        self.epsilon: float = config.layer_norm_epsilon
        self.start_token: int = config.decoder_start_token_id
        self.end_token: int = config.eos_token_id
        self.pad_token: int = config.pad_token_id
        self.classify = _classifier(model)
        self.device = model.device
        self.dtype = model.dtype
        self.products = PRODUCTS[model.dtype]
        with torch.no_grad():
            self._fuse(model)

    def _fuse(self, model: EarlyExitT5) -> None:
        t5, config = model.backbone, model.backbone.config

        def held(weight: Tensor) -> Tensor:
            return weight.detach().to(self.dtype)

        def feed_forward(block: Any) -> FeedForward:
            wi, wo, activation = _feed_forward(block, config.is_gated_act)
            return FeedForward(held(wi), held(wo), activation, config.is_gated_act, self.products)

        self.embedding = held(t5.shared.weight)
        self.encoder_layers = [
            EncoderLayer(held(_qkv(block)), held(_out(block.layer[0].SelfAttention)), feed_forward(block))
            for block in t5.encoder.block
        ]
        self.decoder_layers = [
            DecoderLayer(
                held(_qkv(block)),
                held(_out(block.layer[0].SelfAttention)),
                held(block.layer[1].EncDecAttention.q.weight * block.layer[1].layer_norm.weight),
                held(_out(block.layer[1].EncDecAttention)),
                feed_forward(block),
            )
            for block in t5.decoder.block
        ]
        width = self.heads * self.d_kv
        # Keys and values of all layers in one matrix: a token that leaves at layer i takes the rows above i at once.
        self._stacked_keys_values = torch.cat([layer.qkv[width:] for layer in self.decoder_layers])
        encoder_norm = t5.encoder.final_layer_norm.weight
        self.cross_keys_values = held(
            encoder_norm
            * torch.cat(
                [
                    torch.cat([block.layer[1].EncDecAttention.k.weight, block.layer[1].EncDecAttention.v.weight])
                    for block in t5.decoder.block
                ]
            )
        )
        self.head_weight = held(t5.lm_head.weight * t5.decoder.final_layer_norm.weight * head_scale(config))
        buckets, distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self._encoder_bias = _RelativeBias(t5.encoder.block[0], buckets, distance, bidirectional=True)
        self._decoder_bias = _RelativeBias(t5.decoder.block[0], buckets, distance, bidirectional=False)

    @property
    def depth(self) -> int:
        """L, the number of decoder layers."""
        return len(self.decoder_layers)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Embeddings (..., d) of token ids (...)."""
        return self.embedding[token_ids].float()

    def normed(self, x: Tensor) -> Tensor:
        """x over its root mean square, without the gain (which is folded into the next matrix)."""
        return torch.rms_norm(x, (self.d_model,), eps=self.epsilon)

    def head(self, states: Tensor, among: Tensor | None = None) -> Tensor:
        """Logits (n, V) of decoder states (n, d) of any layer, or those of the tokens among (n, k) alone."""
        if among is None:
            return self.products.linear(self.normed(states), self.head_weight)
        return (self.head_weight[among].float() @ self.normed(states)[..., None]).squeeze(-1)

    def skipped_keys_values(self, exit_layer: int, states: Tensor) -> Tensor:
        """What the layers above `exit_layer` project from states (n, d), (n, L - exit_layer, 2, H, d_kv)."""
        rows = 2 * self.heads * self.d_kv
        projected = self.products.linear(self.normed(states), self._stacked_keys_values[exit_layer * rows :])
        return projected.view(len(states), self.depth - exit_layer, 2, self.heads, self.d_kv)

    def encoder_bias(self, length: int) -> Tensor:
        """Relative position bias of the encoder, (1, H, S, S)."""
        position = torch.arange(length, device=self.device)
        return self._encoder_bias(position[None, :] - position[:, None]).permute(2, 0, 1)[None]

    def decoder_bias(self, length: int) -> Tensor:
        """Bias of a query at the last of `length` positions towards each of them, (1, H, 1, length).

        The bias depends on the distance alone: the step with t + 1 positions reads the last t + 1 columns.
        """
        distance = torch.arange(length, device=self.device) - (length - 1)
        return self._decoder_bias(distance).T[None, :, None]


class _RelativeBias:
    """T5's relative position bias: exact buckets for near positions, logarithmic ones up to a maximum distance."""

    def __init__(self, first_block: Any, buckets: int, max_distance: int, bidirectional: bool) -> None:
        self.weight: Tensor = first_block.layer[0].SelfAttention.relative_attention_bias.weight.detach()
        self.buckets, self.max_distance, self.bidirectional = buckets, max_distance, bidirectional

    def __call__(self, relative_position: Tensor) -> Tensor:
        """Bias (..., H) of key positions relative to the query's (...)."""
        buckets = self.buckets // 2 if self.bidirectional else self.buckets
        offset = (relative_position > 0).long() * buckets if self.bidirectional else 0
        distance = relative_position.abs() if self.bidirectional else (-relative_position).clamp(min=0)
        exact = buckets // 2
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        logarithmic = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
        return self.weight[offset + torch.where(distance < exact, distance, logarithmic)]


def _classifier(model: EarlyExitT5) -> Callable[[Tensor], Tensor] | None:
    if model.classifier is None:
        return None
    weight, bias = model.classifier.linear.weight.detach()[0], model.classifier.linear.bias.detach()
    return lambda states: torch.addmv(bias, states, weight).sigmoid()


def _qkv(block: Any) -> Tensor:
    attention, gain = block.layer[0].SelfAttention, block.layer[0].layer_norm.weight
    return torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]) * gain


def _out(attention: Any) -> Tensor:
    transposed: Tensor = attention.o.weight.T.contiguous()
    return transposed


def _feed_forward(block: Any, gated: bool) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    layer = block.layer[-1]
    dense, gain = layer.DenseReluDense, layer.layer_norm.weight
    wi = torch.cat([dense.wi_0.weight, dense.wi_1.weight]) if gated else dense.wi.weight
    return wi * gain, dense.wo.weight.T.contiguous(), _activation(dense.act)


def _activation(act: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(act, type(ACT2FN["gelu_new"])):  # the same tanh form as one fused kernel
        return lambda x: functional.gelu(x, approximate="tanh")
    return act
