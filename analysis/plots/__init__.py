"""One function per figure: each takes a tidy frame and returns a matplotlib figure."""

from analysis.plots.coloured import coloured_text
from analysis.plots.consistency import consistency
from analysis.plots.decay import threshold_decay
from analysis.plots.decay_points import decay_points
from analysis.plots.exits import exit_by_position, exit_histogram
from analysis.plots.frontier import frontier
from analysis.plots.methods import compare_methods
from analysis.plots.perturbation import perturbation
from analysis.plots.promises import broken_promises
from analysis.plots.reliability import reliability
from analysis.plots.seconds import seconds_saved

__all__ = [
    "broken_promises",
    "coloured_text",
    "compare_methods",
    "consistency",
    "decay_points",
    "exit_by_position",
    "exit_histogram",
    "frontier",
    "perturbation",
    "reliability",
    "seconds_saved",
    "threshold_decay",
]
