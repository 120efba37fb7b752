"""The T5 family with exits: T5 v1.0 and v1.1, Flan-T5, ByT5, mT5."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    MT5ForConditionalGeneration,
    PreTrainedTokenizerBase,
    StaticCache,
    T5Config,
    T5ForConditionalGeneration,
)

from calm_bench.cost.flops import Shape
from calm_bench.models import t5_modules, t5_weights
from calm_bench.models.model import EarlyExitModel, Forced, GenerateCache, Learned
from calm_bench.models.quiet import quietly
from calm_bench.models.tokens import GenerationTokens
from calm_bench.models.weights import Weights

FORCED_BATCH = 32
# mT5 has T5's layout in a class of its own; Flan-T5 and ByT5 are T5 to transformers.
CLASSES = {"t5": T5ForConditionalGeneration, "mt5": MT5ForConditionalGeneration}


class EarlyExitT5(EarlyExitModel):
    """A T5 of transformers. Its generation settings become those of a greedy text; `loading.load` names the others."""

    family: ClassVar[str] = "t5"
    backbone: T5ForConditionalGeneration | MT5ForConditionalGeneration

    def __init__(
        self,
        backbone: T5ForConditionalGeneration | MT5ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        learned: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.backbone, self.tokenizer, self.learned = backbone, tokenizer, dict(learned or {})
        self.tokens = GenerationTokens.of(backbone)
        backbone.generation_config = self.tokens.greedy()
        backbone.config.decoder_start_token_id, backbone.config.pad_token_id = self.tokens.start, self.tokens.pad

    @property
    def device(self) -> torch.device:
        return self.backbone.shared.weight.device

    @property
    def depth(self) -> int:
        return len(self.backbone.decoder.block)

    @property
    def width(self) -> int:
        width: int = self.backbone.config.d_model
        return width

    @property
    def activation(self) -> str:
        name: str = self.backbone.config.dense_act_fn
        return name

    @property
    def sublayers(self) -> list[nn.Module]:
        stacks = self.backbone.encoder, self.backbone.decoder
        return [sublayer for stack in stacks for block in stack.block for sublayer in block.layer]

    def head(self, states: Tensor, among: Tensor | None = None) -> Tensor:
        normed = self.backbone.decoder.final_layer_norm(states) * t5_weights.head_scale(self.backbone.config)
        if among is None:
            return self.backbone.lm_head(normed)
        return (self.backbone.lm_head.weight[among] @ normed[..., None]).squeeze(-1)

    def read(self, source: Sequence[int]) -> Tensor:
        ids = torch.tensor([list(source)], device=self.device)
        states: Tensor = self.backbone.encoder(input_ids=ids).last_hidden_state
        return states

    def embed(self, token: int) -> Tensor:
        return self.backbone.shared(torch.tensor([[token]], device=self.device))

    def run_layer(self, layer: int, state: Tensor, past: Sequence[tuple[int, Tensor]], context: Tensor) -> Tensor:
        return t5_modules.run_layer(self.backbone, layer, state, past, context)

    def weights(self, dtype: torch.dtype) -> Weights:
        return t5_weights.fused(self.backbone, self.tokens, self.learned, dtype)

    def fits_float16(self) -> bool:
        return t5_weights.fits_float16(self.backbone)

    def shape(self) -> Shape:
        config = self.backbone.config
        return Shape(
            layers=self.depth,
            d_model=config.d_model,
            d_attention=config.num_heads * config.d_kv,
            d_ff=config.d_ff,
            gated=config.is_gated_act,
            vocab=config.vocab_size,
            d_encoder=config.d_model,
        )

    @torch.inference_mode()
    def forced(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Iterator[Forced]:
        for start in range(0, len(sources), FORCED_BATCH):
            examples = list(range(start, min(start + FORCED_BATCH, len(sources))))
            ids, mask = self._padded([sources[e] for e in examples])
            tokens, there = self._padded([texts[e] for e in examples])
            before = tokens.roll(1, dims=1)
            before[:, 0] = self.tokens.start
            outputs = self.backbone(
                input_ids=ids,
                attention_mask=mask.long(),
                decoder_input_ids=before,
                output_hidden_states=True,
                use_cache=False,
            )
            yield Forced(examples, tokens, there, outputs.decoder_hidden_states[:-1], outputs.logits)

    @torch.inference_mode()
    def continued(
        self, sources: Sequence[Sequence[int]], beginnings: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[list[int]]:
        ids, mask = self._padded(sources)
        encoded = self.backbone.encoder(input_ids=ids, attention_mask=mask.long())
        written = torch.tensor([list(beginning) for beginning in beginnings], device=self.device)
        fed = torch.cat([torch.full_like(written[:, :1], self.tokens.start), written], dim=1)
        ends = torch.tensor(self.tokens.ends, device=self.device)
        ended = torch.isin(written[:, -1], ends)
        cache = self._cache()
        while written.shape[1] < max_new_tokens and not ended.all():
            outputs = self.backbone(
                encoder_outputs=encoded, attention_mask=mask.long(), decoder_input_ids=fed, past_key_values=cache
            )
            fed = outputs.logits[:, -1:].argmax(-1).masked_fill(ended[:, None], self.tokens.pad)
            written = torch.cat([written, fed], dim=1)
            ended |= torch.isin(fed[:, 0], ends)
        return written.tolist()

    @torch.inference_mode()
    def generate(
        self,
        source: Sequence[int],
        max_new_tokens: int,
        on_encoded: Callable[[], object] = lambda: None,
        cache: GenerateCache = "growing",
    ) -> list[int]:
        hook = self.backbone.encoder.register_forward_hook(lambda *_: on_encoded())
        held: dict[str, Any] = {"past_key_values": self._cache()}
        if cache == "static":
            config = self.backbone.decoder.config
            caches = (StaticCache(config, max_cache_len=length) for length in (max_new_tokens + 1, len(source)))
            held = {"past_key_values": EncoderDecoderCache(*caches), "disable_compile": True}
        if cache == "compiled":  # one that transformers makes and keeps, since the graphs are of its memory
            held = {"cache_implementation": "static"}
        read = torch.tensor([list(source)], device=self.device)
        with self._decoder_s_depth():
            output = self.backbone.generate(input_ids=read, max_new_tokens=max_new_tokens, **held)
        hook.remove()
        ids: list[int] = output[0, 1:].tolist()
        return ids

    def save(self, folder: Path, dtype: str = "float32") -> None:
        with quietly():
            copy.deepcopy(self.backbone).to(getattr(torch, dtype)).save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        for module in self.learned.values():
            cast(Learned, module).save(folder)

    @contextmanager
    def _decoder_s_depth(self) -> Iterator[None]:
        """While this holds, what transformers takes for the depth of a cache is the decoder's, not the encoder's."""
        config = self.backbone.config
        depth, config.num_layers = config.num_layers, self.depth
        try:
            yield
        finally:
            config.num_layers = depth

    def _cache(self) -> EncoderDecoderCache:
        """An empty cache; what transformers makes itself is too short where the decoder is deeper than the encoder."""
        config = self.backbone.decoder.config
        return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows of token ids as (B, T), padding behind them, and where they are tokens, (B, T) bool."""
        parts = [torch.tensor(row, dtype=torch.long) for row in rows]
        ids = pad_sequence(parts, batch_first=True, padding_value=self.tokens.pad)
        there = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        return ids.to(self.device), there.to(self.device)


def from_scratch(tokenizer: PreTrainedTokenizerBase, dimensions: dict[str, Any], device: str = "cpu") -> EarlyExitT5:
    """A fresh T5 v1.1 (gated GELU, its own output head) with random weights.

    Args:
        tokenizer: its size is the vocabulary's.
        dimensions: keyword arguments of `transformers.T5Config`, such as d_model, d_ff, num_decoder_layers.
    """
    config = T5Config(
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        feed_forward_proj="gated-gelu",
        **dimensions,
    )
    backbone = T5ForConditionalGeneration(config)
    # transformers ties a fresh T5's head to the embedding whatever the config says; T5 v1.1 has its own.
    head = torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5
    backbone.lm_head.weight = nn.Parameter(head)
    return EarlyExitT5(backbone.to(device), tokenizer)
