"""The early-exit decoder. `reference.py` says what it means, `loop.py` does it fast."""

from calm_bench.decoding.generations import Generations
from calm_bench.decoding.loop import decode
from calm_bench.decoding.rule import Decay, Rule

__all__ = ["Decay", "Generations", "Rule", "decode"]
