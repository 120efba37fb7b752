"""What decoding gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Generations:
    """Texts of E examples under R rules, at most T tokens each.

    Attributes:
        token_ids: (E, R, T) int32; the end-of-sequence token is kept, what follows it is padding (0).
        exit_layers: (E, R, T) int16, 1..L; 0 on padding. L means that nothing was skipped.
        confidences: (E, R, T) float32, the measure's value at the exit layer; NaN on padding, where a token ran to the
            last layer (nothing is asked there), and for rules without a measure. `Executor.run` says how exact.
    """

    token_ids: NDArray[np.int32]
    exit_layers: NDArray[np.int16]
    confidences: NDArray[np.float32]

    @classmethod
    def empty(cls, examples: int, rules: int, length: int) -> Generations:
        shape = (examples, rules, length)
        return cls(
            np.zeros(shape, np.int32),
            np.zeros(shape, np.int16),
            np.full(shape, np.nan, np.float32),
        )

    def put(self, where: Any, part: Generations) -> None:
        """Write `part` into the texts that `where` indexes: examples, or examples and rules."""
        self.token_ids[where] = part.token_ids
        self.exit_layers[where] = part.exit_layers
        self.confidences[where] = part.confidences

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """Tokens of each text, end-of-sequence included, (E, R)."""
        return (self.exit_layers > 0).sum(-1)

    @property
    def mean_exit_layer(self) -> NDArray[np.float64]:
        """Mean exit layer of each text, (E, R)."""
        layers: NDArray[np.float64] = self.exit_layers.sum(-1) / self.n_tokens
        return layers
