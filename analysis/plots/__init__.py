"""One function per figure: each takes a tidy frame and returns a matplotlib figure."""

from analysis.plots.consistency import consistency
from analysis.plots.decay import threshold_decay
from analysis.plots.exits import exit_by_position, exit_histogram
from analysis.plots.frontier import frontier
from analysis.plots.promises import broken_promises
from analysis.plots.seconds import seconds_saved

__all__ = [
    "broken_promises",
    "consistency",
    "exit_by_position",
    "exit_histogram",
    "frontier",
    "seconds_saved",
    "threshold_decay",
]
