"""The seam of model families: what the suite asks of a model, whatever its architecture.

T5 is the one family today. A decoder-only family (rotary positions, grouped K/V heads, a prompt instead of an encoder)
comes next, and has these places to fill in; nothing else names a family.

- A subclass of `EarlyExitModel` in `models/`, and its `model_type` in `models/loading.py`. `tokenize` gives the prompt;
  `forced` reads prompt and text in one sequence and returns the text's positions; `shape` counts its matrices.
- `weights`: `Weights` with grouped heads and rotary frequencies in place of position buckets, and no encoder.
- `decoding/encoder.py`: the prompt read in one pass. Its K and V, layer by layer, are the `Context`: one copy that all
  rules of an example share, as they share T5's cross-attention; its last token is what the first step reads.
- `decoding/layer.py`: one attention over the context's and the row's own K and V takes the place of T5's two. Rows are
  spread over their examples for the context's part, and the two parts are joined by their log-sum-exp.
- `read`, `embed` and `run_layer`: a layer in transformers' modules, one position, no cache. `decoding/reference.py`
  defines early exits on them, and every executor is held equal to it.
- `models/loss.py: layer_logits`, `models/exit_simulation.py: frozen_above` and `models/trainers.py: _with_whole_masks`,
  which training reads T5's modules by.
- `cost/flops.py`: a count beside `t5`, from its own `shape`.
- Executors that write the arithmetic out for T5 (`native`, `cuda`) say in `unavailable` that they do not know it; the
  control of `grid`, rules, measures, state copying, stages and records stay as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from calm_bench.cost.flops import Shape
from calm_bench.models.tokens import GenerationTokens
from calm_bench.models.weights import Weights

# transformers' default; its static cache; and that with a decoding step by torch.compile, which it does on a GPU alone
GenerateCache = Literal["growing", "static", "compiled"]


@dataclass(frozen=True)
class Forced:
    """A batch of B texts of at most T tokens, read under teacher forcing.

    Attributes:
        examples: which of the texts these are, B indices.
        tokens: what was forced, (B, T), padding after it.
        there: where `tokens` are tokens, (B, T) bool.
        states: raw states before layer 1 and after the layers 1..L-1, so that states[i] is d^i: L times (B, T, d).
        logits: of the last layer, (B, T, V).
    """

    examples: list[int]
    tokens: Tensor
    there: Tensor
    states: Sequence[Tensor]
    logits: Tensor

    @property
    def text(self) -> Tensor:
        """Of each of the M tokens (there, row by row), the index of its text, (M,)."""
        rows = torch.tensor(self.examples, device=self.there.device)
        return rows[:, None].expand_as(self.there)[self.there]


class Learned(Protocol):
    """A module of learned weights, in a file of its own."""

    @classmethod
    def load(cls, folder: Path, width: int, depth: int) -> nn.Module | None:
        """From beside a checkpoint of d = width and L = depth; None where there is none.

        Raises InputError where the file is there and does not fit.
        """

    def save(self, folder: Path) -> None:
        """Write it beside a checkpoint."""


class EarlyExitModel(ABC):
    """A model with exits, its tokenizer, and the learned measures' weights that lie beside it.

    All layers share one output head; the final norm is applied to an early state before the head, as the released code
    does (the paper is silent on it).

    Attributes:
        family: what kind of model it is; an executor that writes the arithmetic out knows some of them.
        backbone: the model of transformers, in float32: what bfloat16 decoding approximates, and what is trained.
            Nothing outside `models` touches it.
        tokenizer: of transformers; None where token ids come in and go out.
        tokens: which tokens start, pad and end a text.
        learned: the weights of learned measures by name (`Measure.learned`), in float32, on the model's device.
    """

    family: ClassVar[str]
    backbone: Any
    tokenizer: PreTrainedTokenizerBase
    tokens: GenerationTokens
    learned: dict[str, nn.Module]

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def depth(self) -> int:
        """L, the number of decoder layers."""

    @property
    @abstractmethod
    def width(self) -> int:
        """d, the width of the residual stream."""

    @property
    @abstractmethod
    def activation(self) -> str:
        """The feed-forward layers' activation, as transformers names it."""

    @property
    @abstractmethod
    def sublayers(self) -> list[nn.Module]:
        """Encoder's and decoder's modules of transformers that `training.compile` compiles, each by itself."""

    @abstractmethod
    def head(self, states: Tensor, among: Tensor | None = None) -> Tensor:
        """Logits (..., V) of decoder states (..., d) of any layer, or those of the tokens among (..., k) alone."""

    @abstractmethod
    def read(self, source: Sequence[int]) -> Any:
        """What `run_layer` needs to know of a source, which transformers' modules have read."""

    @abstractmethod
    def embed(self, token: int) -> Tensor:
        """A token's embedding, the state before layer 1, (1, 1, d)."""

    @abstractmethod
    def run_layer(self, layer: int, state: Tensor, past: Sequence[tuple[int, Tensor]], context: Any) -> Tensor:
        """State after `layer` (1..L) at the newest position, (1, 1, d), by transformers' modules, without a cache.

        Args:
            state: the state before the layer, (1, 1, d).
            past: for each position so far, the newest included, the layer (1..L) that projects its key and value here,
                and the state (1, 1, d) that these are projected from.
            context: what `read` has given.
        """

    @abstractmethod
    def weights(self, dtype: torch.dtype) -> Weights:
        """The weights as executors read them, held in this dtype, as they are now.

        In float16 they keep the gains of norms apart, so that they lose nothing where `fits_float16`.
        """

    @abstractmethod
    def fits_float16(self) -> bool:
        """Whether float16 holds the layers' matrices without loss."""

    @abstractmethod
    def shape(self) -> Shape:
        """The sizes that FLOPs are counted from."""

    @abstractmethod
    def forced(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Iterator[Forced]:
        """Read each text (token ids) behind its source by transformers' forward pass, in batches of their order."""

    @abstractmethod
    def continued(
        self, sources: Sequence[Sequence[int]], beginnings: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[list[int]]:
        """Texts that begin with these tokens (all equally many, at least one) and go on greedily, by transformers.

        They hold `max_new_tokens` tokens at most, beginnings included, and padding behind the end of a text.
        """

    @abstractmethod
    def generate(
        self,
        source: Sequence[int],
        max_new_tokens: int,
        on_encoded: Callable[[], object] = lambda: None,
        cache: GenerateCache = "growing",
    ) -> list[int]:
        """What transformers' own `generate()` writes greedily, end-of-sequence included: the outside reference.

        `on_encoded` is called once, when the source has been read and the first token has not been begun.
        """

    @abstractmethod
    def save(self, folder: Path, dtype: str = "float32") -> None:
        """Write a Hugging Face checkpoint folder in this dtype, learned weights beside it in float32."""

    def tokenize(self, texts: Sequence[str], max_tokens: int | None = None) -> list[list[int]]:
        """Token ids of each text, end-of-sequence last, cut to `max_tokens`."""
        encoded = self.tokenizer(list(texts), truncation=max_tokens is not None, max_length=max_tokens)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def detokenize(self, token_ids: Any) -> list[str]:
        """Texts of rows of token ids (n, T), padding and special tokens left out."""
        texts: list[str] = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        return texts

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The tokenizer's own name of each token."""
        names: list[str] = self.tokenizer.convert_ids_to_tokens(list(token_ids))
        return names
