"""Tables, figures and the report, from the records of finished runs alone: no model, no torch."""

from analysis.index import draw
from analysis.load import Records, load
from analysis.plots import (
    broken_promises,
    consistency,
    exit_by_position,
    exit_histogram,
    frontier,
    seconds_saved,
    threshold_decay,
)
from analysis.recertify import recertify
from analysis.tables import certified, efficiency

__all__ = [
    "Records",
    "broken_promises",
    "certified",
    "consistency",
    "draw",
    "efficiency",
    "exit_by_position",
    "exit_histogram",
    "frontier",
    "load",
    "recertify",
    "seconds_saved",
    "threshold_decay",
]
