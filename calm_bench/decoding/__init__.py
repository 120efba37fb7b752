"""The early-exit decoder. `reference.py` says what it means, `decoder.py` is the door to all that do it fast."""

from calm_bench.decoding.decoder import Decoder, decode
from calm_bench.decoding.generations import Generations
from calm_bench.decoding.rule import Decay, Rule

__all__ = ["Decay", "Decoder", "Generations", "Rule", "decode"]
