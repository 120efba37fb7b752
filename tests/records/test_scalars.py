"""A run in a handful of numbers."""

import pandas as pd

from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run


def test_certified_layers_are_those_of_the_runs_own_promises(run: Run, frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        run.write(name, frame)
    later = frames["certificates"][:1].assign(method="ucb", mean_exit_layer=1.0, delta=[0.1])
    run.add_promises(pd.concat([later, later.assign(delta=0.025)]), [])
    run.finish(seconds={"decode": 12.5})
    found = scalars(run)
    of_rule = {"flops_reduction": 1.6, "score": 40.0, "loss": 0.1, "threshold": 0.9, "speedup": 2.0}
    of_full = {"flops_reduction": 1.0, "score": 40.0, "loss": 0.01, "speedup": 1.0}  # which has no threshold
    assert found.pop("peak_memory_mb") == run.info["peak_memory_mb"]
    assert found == {
        "certified/softmax/textual_10pct/layers": 4.0,
        **{f"certified/softmax/textual_10pct/{name}": value for name, value in of_rule.items()},
        "certified/softmax/risk_2pct/layers": 8.0,
        **{f"certified/softmax/risk_2pct/{name}": value for name, value in of_full.items()},
        "certified/softmax/textual_2_5pct/layers": 1.0,
        **{f"certified/softmax/textual_2_5pct/{name}": value for name, value in of_rule.items()},
        "full_score": 40.0,
        "oracle_layers": 4.5,
        "seconds/decode": 12.5,
    }


def test_what_was_not_timed_has_no_speedup(run: Run, frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        run.write(name, frame.assign(speedup=float("nan")) if name == "frontier" else frame)
    assert [name for name in scalars(run) if name.endswith("speedup")] == []
