"""The executor for one text at a time on a CPU, in C."""

from calm_bench.decoding.native.executor import Native

__all__ = ["Native"]
