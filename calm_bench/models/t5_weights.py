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
    """The weights of a `T5ForConditionalGeneration` (or mT5's), in `dtype`, on its device."""
    config = t5.config

    def held(weight: Tensor) -> Tensor:
        return weight.detach().to(dtype)

    def feed_forward(block: Any) -> FeedForward:
        wi, wo, activation = _feed_forward(block, config.is_gated_act)
        return FeedForward(held(wi), held(wo), activation, config.is_gated_act)

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
        embedding=held(t5.shared.weight),
        encoder_layers=[
            EncoderLayer(held(_qkv(block)), held(_out(block.layer[0].SelfAttention)), feed_forward(block))
            for block in t5.encoder.block
        ],
        encoder_positions=positions(t5.encoder, bidirectional=True),
        decoder_layers=[
            DecoderLayer(
                held(_qkv(block)),
                held(_out(block.layer[0].SelfAttention)),
                held(block.layer[1].EncDecAttention.q.weight * block.layer[1].layer_norm.weight),
                held(_out(block.layer[1].EncDecAttention)),
                feed_forward(block),
            )
            for block in t5.decoder.block
        ],
        decoder_positions=positions(t5.decoder, bidirectional=False),
        cross_keys_values=held(t5.encoder.final_layer_norm.weight * torch.cat(keys_values)),
        head=held(t5.lm_head.weight * t5.decoder.final_layer_norm.weight * head_scale(config)),
        learned=learned,
    )


def head_is_tied(config: Any) -> bool:
    """Whether the head is the embedding, as in T5 v1.0; transformers says so by what goes with it, scaled states."""
    return bool(getattr(config, "scale_decoder_outputs", False))


def head_scale(config: Any) -> float:
    """What a normed state is multiplied by before the head."""
    return config.d_model**-0.5 if head_is_tied(config) else 1.0


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
