"""A T5's weights, fused for decoding.

They are only read from transformers: nothing here calls its forward passes, so a release of theirs cannot change what
is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from calm_bench.models.tokens import GenerationTokens
from calm_bench.models.weights import DecoderLayer, EncoderLayer, FeedForward, PositionBuckets, Weights


@torch.no_grad()
def fused(t5: Any, tokens: GenerationTokens, learned: Mapping[str, nn.Module], dtype: torch.dtype) -> Weights:
    """The weights of a `T5ForConditionalGeneration` (or mT5's), in `dtype`, on its device.

    In float16 that is the layers' matrices alone, without their gains.
    """
    config = t5.config
    folds = dtype is not torch.float16
    elsewhere = dtype if folds else torch.float32

    def held(weight: Tensor) -> Tensor:
        return weight.detach().to(dtype)

    def behind(layer: Any, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """A matrix that reads a layer's norm, and its gain."""
        gain = layer.layer_norm.weight.detach()
        return (held(weight * gain), None) if folds else (held(weight), gain)

    def feed_forward(block: Any) -> FeedForward:
        layer = block.layer[-1]
        wi, gain = behind(layer, _wi(layer.DenseReluDense, config.is_gated_act))
        wo, activation = layer.DenseReluDense.wo.weight.T.contiguous(), _activation(layer.DenseReluDense.act)
        return FeedForward(wi, held(wo), activation, config.is_gated_act, gain)

    def encoder_layer(block: Any) -> EncoderLayer:
        attention = block.layer[0]
        qkv, gain = behind(attention, _qkv(attention.SelfAttention))
        return EncoderLayer(qkv, held(_out(attention.SelfAttention)), feed_forward(block), gain)

    def decoder_layer(block: Any) -> DecoderLayer:
        itself, cross = encoder_layer(block), block.layer[1]
        query, cross_gain = behind(cross, cross.EncDecAttention.q.weight)
        out = held(_out(cross.EncDecAttention))
        return DecoderLayer(itself.qkv, itself.out, query, out, itself.feed_forward, itself.gain, cross_gain)

    def positions(stack: Any, bidirectional: bool) -> PositionBuckets:
        bias = stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight.detach()
        return PositionBuckets(bias, config.relative_attention_max_distance, bidirectional)

    cross = [block.layer[1] for block in t5.decoder.block]
    keys_values = [torch.cat([layer.EncDecAttention.k.weight, layer.EncDecAttention.v.weight]) for layer in cross]
    return Weights(
        tokens=tokens,
        heads=config.num_heads,
        d_kv=config.d_kv,
        epsilon=config.layer_norm_epsilon,
        embedding=t5.shared.weight.detach().to(elsewhere),
        encoder_layers=[encoder_layer(block) for block in t5.encoder.block],
        encoder_positions=positions(t5.encoder, bidirectional=True),
        decoder_layers=[decoder_layer(block) for block in t5.decoder.block],
        decoder_positions=positions(t5.decoder, bidirectional=False),
        cross_keys_values=(t5.encoder.final_layer_norm.weight * torch.cat(keys_values)).to(elsewhere),
        head=(t5.lm_head.weight * t5.decoder.final_layer_norm.weight * head_scale(config)).to(elsewhere),
        learned=learned,
    )


@torch.no_grad()
def fits_float16(t5: Any) -> bool:
    """Whether float16 holds every matrix of the layers without loss, as it does where the checkpoint was kept in it."""
    matrices = (weight for stack in (t5.encoder, t5.decoder) for weight in stack.block.parameters() if weight.ndim > 1)
    return all(bool((weight.half().float() == weight).all()) for weight in matrices)


def head_is_tied(config: Any) -> bool:
    """Whether the head is the embedding, as in T5 v1.0; transformers says so by what goes with it, scaled states."""
    return bool(getattr(config, "scale_decoder_outputs", False))


def head_scale(config: Any) -> float:
    """What a normed state is multiplied by before the head."""
    return config.d_model**-0.5 if head_is_tied(config) else 1.0


def _qkv(attention: Any) -> Tensor:
    return torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])


def _out(attention: Any) -> Tensor:
    transposed: Tensor = attention.o.weight.T.contiguous()
    return transposed


def _wi(dense: Any, gated: bool) -> Tensor:
    return torch.cat([dense.wi_0.weight, dense.wi_1.weight]) if gated else dense.wi.weight


def _activation(act: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(act, type(ACT2FN["gelu_new"])):  # the same tanh form as one fused kernel
        return lambda x: functional.gelu(x, approximate="tanh")
    return act
