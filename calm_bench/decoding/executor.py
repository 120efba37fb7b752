"""What stands behind the decoder's door: ways to execute rules, each faster than the definition in its own field."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from calm_bench.decoding.generations import Generations
    from calm_bench.decoding.rule import Rule
    from calm_bench.models.model import EarlyExitModel


class Executor(Protocol):
    """Decodes texts under rules, with the tokens and exit layers of `reference.py` in float32.

    It holds a model's weights as they were when it was made, laid out its own way. A new one is a module in `decoding/`
    and a line in `EXECUTORS`, where the equality tests find it; a place in `ALONE`, if it is the best at that; and a
    name in `choices.TimingExecutor`.
    """

    name: ClassVar[str]

    def __init__(self, model: EarlyExitModel, dtype: torch.dtype) -> None: ...

    @classmethod
    def unavailable(cls, model: EarlyExitModel, dtype: torch.dtype) -> str | None:
        """Why it cannot run this model here, in words that follow a colon: no compiler, another device; or None."""

    def refuses(self, rule: Rule) -> str | None:
        """Why it cannot execute this rule, in words that follow a colon; or None."""

    def encode(self, sources: Sequence[Sequence[int]]) -> Any:
        """Whatever `run` needs to know of these sources (E lists of token ids), computed once."""

    def run(self, context: Any, rules: Sequence[Rule], max_new_tokens: int) -> Generations:
        """Decode the encoded sources under every rule, none of which it refuses; axes (E, R, max_new_tokens).

        The grid's confidences are the measure's own, to rounding; it makes the records. Another may save what it costs
        to know them better than on which side of the threshold they lie.

        Raises:
            InputError: a rule's layers are out of the model's range.
            FloatingPointError: a state or a confidence is NaN; the words name layer and position.
        """


@runtime_checkable
class CountsWeights(Protocol):
    """An executor that says how much of the weights it has read, so that its speed has a floor to be compared with.

    weight_bytes: read by all texts so far, without what the skipped layers' keys and values took.
    """

    weight_bytes: int

    def read_weights(self) -> int:
        """Read memory as large as a token's weights at full depth some times, as fast as can be; the bytes read."""


EXECUTORS = {
    "grid": "calm_bench.decoding.grid:Grid",
    "native": "calm_bench.decoding.native:Native",
    "cuda": "calm_bench.decoding.cuda.executor:Cuda",
    "speculative": "calm_bench.decoding.speculative:Speculative",
}
# What a single text under a single rule is given to, the best first, on each kind of device.
ALONE: dict[str, tuple[str, ...]] = {
    "cpu": ("native", "grid"),
    "cuda": ("cuda", "grid"),
}


def executor_class(name: str) -> type[Executor]:
    """The class of a registered executor; its module, and all that it needs, is imported only now."""
    module, _, attribute = EXECUTORS[name].partition(":")
    found: type[Executor] = getattr(import_module(module), attribute)
    return found
