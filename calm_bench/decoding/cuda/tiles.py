"""How much of each product one program takes, chosen from the model's sizes."""

from __future__ import annotations

from dataclasses import dataclass

from calm_bench.decoding.cuda.weight_rows import WeightRows

SHORTEST_TEXT, SHORTEST_SOURCE = 128, 512  # positions that buffers hold at least
MOST_HEAD_PROGRAMS = 2_048  # one program looks through what they found


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n >= 1."""
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True)
class Block:
    """Rows of a matrix that one program takes, and the warps it has for them."""

    rows: int
    warps: int

    def programs(self, rows: int) -> int:
        return -(-rows // self.rows)


@dataclass(frozen=True)
class Shares:
    """An attention's positions, shared among `count` programs a head, each of which takes `tile` of them."""

    count: int
    tile: int

    @classmethod
    def of(cls, positions: int, tile: int) -> Shares:
        """As many shares of this size as there are, but at most 16."""
        count = min(16, max(1, positions // tile))
        return cls(count, positions // count)


def block(columns: int, rows: int = 4) -> Block:
    """`rows` of a matrix with this many columns (padded), fewer beyond 1,024; 128 numbers a thread at most."""
    if columns <= 1_024:
        return Block(rows, warps=4)
    rows = max(1, min(2, 8_192 // columns))
    return Block(rows, max(2, rows * columns // 4_096))


class Tiles:
    """The launches' sizes for a model, texts of `positions` tokens and sources of `source_positions`, powers of two.

    Attributes:
        text, source: how attention to the text itself and to its source is shared.
        head_programs, head_repeats: programs of the output head, and how many blocks of rows each takes.
    """

    def __init__(self, weights: WeightRows, positions: int, source_positions: int) -> None:
        self.positions, self.source_positions = positions, source_positions
        self.d, self.d_ff = power_of_two(weights.d_model), power_of_two(weights.d_ff)
        self.heads, self.d_kv = power_of_two(weights.heads), power_of_two(weights.d_kv)
        self.text = Shares.of(positions, tile=128)
        self.source = Shares.of(source_positions, tile=64)
        self.qkv, self.query, self.out = block(self.d, 8), block(self.d), block(self.heads * self.d_kv)
        self.widen = block(2 * self.d if weights.gated else self.d)
        self.narrow, self.units = block(self.d_ff), block(2 * self.d)
        self.skipped = block(self.d, 8)
        self.head = block(self.d, 16)
        vocabulary = len(weights.head)
        self.head_repeats = max(2, -(-vocabulary // (self.head.rows * MOST_HEAD_PROGRAMS)))
        self.head_programs = -(-vocabulary // (self.head.rows * self.head_repeats))
