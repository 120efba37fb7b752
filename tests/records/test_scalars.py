"""A run in a handful of numbers."""

import pandas as pd

from calm_bench.records import Run
from calm_bench.records.scalars import scalars


def test_certified_layers_are_those_of_the_runs_own_promises(run: Run, frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        run.write(name, frame)
    later = frames["certificates"][:1].assign(method="ucb", mean_exit_layer=1.0, delta=[0.1])
    run.add_promises(pd.concat([later, later.assign(delta=0.025)]), [])
    assert scalars(run) == {
        "certified_layers/softmax/textual_10pct": 4.0,
        "certified_layers/softmax/risk_2pct": 8.0,
        "certified_layers/softmax/textual_2_5pct": 1.0,
        "certified_flops_reduction/softmax/textual_10pct": 1.6,
        "certified_flops_reduction/softmax/risk_2pct": 1.0,
        "certified_flops_reduction/softmax/textual_2_5pct": 1.6,
        "full_score": 40.0,
        "oracle_layers": 4.5,
    }
