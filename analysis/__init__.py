"""Tables, figures and the report, from the records of finished runs alone: no model, no torch."""

import os
import sys
from contextlib import nullcontext

from calm_bench.starting import starting

# `python -m` imports this before anything of the command; whoever imports it in a notebook keeps what it holds.
_COMMAND = sys.argv[:1] == ["-m"]
if _COMMAND:  # several processes draw, and multiply small matrices: threads of each would only wait for one another
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
with starting() if _COMMAND else nullcontext():
    from analysis.example import example
    from analysis.index import draw
    from analysis.load import Records, load
    from analysis.output import Output
    from analysis.plots import (
        broken_promises,
        coloured_text,
        compare_methods,
        consistency,
        decay_points,
        exit_by_position,
        exit_histogram,
        frontier,
        perturbation,
        reliability,
        seconds_saved,
        threshold_decay,
    )
    from analysis.spread import spread
    from analysis.tables import certified, classifier_f1, efficiency, state_copying, text_lengths
    from analysis.trials import trials

__all__ = [
    "Output",
    "Records",
    "broken_promises",
    "certified",
    "classifier_f1",
    "coloured_text",
    "compare_methods",
    "consistency",
    "decay_points",
    "draw",
    "efficiency",
    "example",
    "exit_by_position",
    "exit_histogram",
    "frontier",
    "load",
    "perturbation",
    "reliability",
    "seconds_saved",
    "spread",
    "state_copying",
    "text_lengths",
    "threshold_decay",
    "trials",
]
