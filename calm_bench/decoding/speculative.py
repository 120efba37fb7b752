"""The executor of speculative rules, one text at a time, in torch: drafts by early exits, verified by the layers above.

The layers up to the drafting one run a token at a time, and their keys and values are the full model's, for its history
is the verified text. The layers above then run over all drafts in one pass, which reads their weights once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from calm_bench.decoding.encoder import encode
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.layer import Context, addmm, attend, embed, feed_forward, head, linear, normed
from calm_bench.decoding.position_bias import decoder_bias
from calm_bench.decoding.rule import Rule
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.weights import Weights


class Speculative:
    """An `Executor` for speculative rules alone."""

    name: ClassVar[str] = "speculative"

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype) -> None:
        self._weights = model.weights(dtype)

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> str | None:
        return None if model.family == "t5" else "it knows T5 alone"

    def refuses(self, rule: Rule) -> str | None:
        return None if rule.drafts else "it only drafts and verifies"

    @torch.inference_mode()
    def encode(self, sources: Sequence[Sequence[int]]) -> list[Context]:
        return [encode(self._weights, [source]) for source in sources]

    @torch.inference_mode()
    def run(self, context: Sequence[Context], rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        result = Generations.empty(len(context), len(rules), max_new_tokens)
        for index, rule in enumerate(rules):
            rule.check_layers(self._weights.depth)
            for example, source in enumerate(context):
                ids, layers = _Text(self._weights, source, rule, max_new_tokens).written()
                result.token_ids[example, index, : len(ids)] = ids
                result.exit_layers[example, index, : len(ids)] = layers
        return result


class _Text:
    """A text being written; N is its most tokens, and drafts may reach a little further."""

    def __init__(self, weights: Weights, context: Context, rule: Rule, max_new_tokens: int) -> None:
        assert rule.drafts is not None
        self.weights, self.layer, self.drafts, self.most = weights, rule.min_layer, rule.drafts, max_new_tokens
        length = max_new_tokens + rule.drafts
        shape = weights.depth, 2, 1, weights.heads, length, weights.d_kv
        self._cache = torch.empty(shape, device=weights.device, dtype=weights.dtype)
        self._cross = [layer.float().unbind() for layer in context.keys_values.unbind()]
        self._bias = _causal_bias(weights, length)

    def written(self) -> tuple[list[int], list[int]]:
        """Tokens and exit layers of the whole text."""
        weights, ends = self.weights, self.weights.tokens.ends
        ids: list[int] = []
        layers: list[int] = []
        while len(ids) < self.most and not (ids and ids[-1] in ends):
            first = len(ids)  # the position of the last token that is sure, which is read now
            read, states = [ids[-1] if ids else weights.tokens.start], list[Tensor]()
            for position in range(first, first + self.drafts + 1):
                if states:
                    read.append(int(head(weights, states[-1]).argmax()))
                token = torch.tensor([read[-1]], device=weights.device)
                states.append(self._run(1, self.layer, embed(weights, token), position))
            verified = head(weights, self._run(self.layer + 1, weights.depth, torch.cat(states), first)).argmax(-1)
            for draft, token in zip([*read[1:], None], verified.tolist(), strict=True):
                kept = draft == token
                ids.append(token)
                layers.append(self.layer if kept else weights.depth)
                if not kept or token in ends or len(ids) == self.most:
                    break
        return ids, layers

    def _run(self, first_layer: int, last_layer: int, x: Tensor, position: int) -> Tensor:
        """States (m, d) after `last_layer`, from those before `first_layer`, at m positions from `position` on."""
        weights, end = self.weights, position + len(x)
        for layer in range(first_layer, last_layer + 1):
            w = weights.decoder_layers[layer - 1]
            qkv = linear(normed(weights, x), w.qkv).view(1, len(x), 3, weights.heads, weights.d_kv)
            query, keys, values = qkv.permute(2, 0, 3, 1, 4)  # (1, H, m, d_kv) each
            cache = self._cache[layer - 1]
            cache[:, :, :, position:end] = torch.stack([keys, values])
            keys, values = cache[:, :, :, :end].float().unbind()
            mixed = attend(query, keys, values, self._bias[..., position:end, :end])
            x = addmm(x, _joined(mixed), w.out)
            query = linear(normed(weights, x), w.cross_query).view(1, len(x), weights.heads, -1).transpose(1, 2)
            keys, values = self._cross[layer - 1]
            x = addmm(x, _joined(attend(query, keys, values, None)), w.cross_out)
            x = feed_forward(w.feed_forward, x, normed(weights, x))
            if x.isnan().any():
                raise FloatingPointError(f"state is NaN at layer {layer}, position {position}")
        return x


def _joined(mixed: Tensor) -> Tensor:
    """(1, H, m, d_kv) as (m, H d_kv)."""
    return mixed.transpose(1, 2).flatten(2)[0]


def _causal_bias(weights: Weights, length: int) -> Tensor:
    """Bias of each position towards itself and the ones before it, (1, H, length, length), -inf towards later ones."""
    by_distance = decoder_bias(weights, length)[0, :, 0].flip(-1)  # (H, length), from distance 0 on
    position = torch.arange(length, device=weights.device)
    distance = position[:, None] - position[None, :]
    return by_distance[:, distance.clamp(min=0)].masked_fill(distance < 0, float("-inf"))[None]
