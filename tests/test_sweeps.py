"""Every sweep file composes, with every value that its agent could pass."""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from calm_bench import compose as composing
from calm_bench.sweep import file as sweep_file
from calm_bench.sweep import trials
from calm_bench.sweep.file import Sweep

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))
SEARCHES = [file for file in SWEEPS if sweep_file.read(file).metric]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_value_composes(file: Path) -> None:
    sweep = sweep_file.read(file)
    assert "${args_no_hyphens}" in sweep.command  # without it the agent runs the defaults and says nothing
    composing.register()
    with initialize_config_dir(str(composing.config_dir().resolve()), version_base="1.3"):
        for values in trials_of(sweep):
            words = [word for word in trials.argv(sweep, values) if "=" in word]
            config = composing.resolve(compose("config", overrides=words))
            assert len(config.measure) == 1


@pytest.mark.parametrize("file", [file for file in SWEEPS if file not in SEARCHES], ids=lambda file: file.stem)
def test_a_grid_has_measures_tolerances_and_seeds(file: Path) -> None:
    sweep = sweep_file.read(file)
    assert sweep.method == "grid"
    assert {"measure", "calibration.textual"} < set(sweep.parameters)
    assert {"seed", "calibration.seed"} & set(sweep.parameters)
    deltas = {values["calibration.textual"] for values in trials.grid(sweep)}
    assert len(deltas) > 1


def trials_of(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Of a grid, trials that have each value of each parameter; else the corners of the ranges and draws between."""
    if sweep.method == "grid":
        seen: set[tuple[str, str]] = set()
        for values in trials.grid(sweep):
            pairs = {(name, repr(value)) for name, value in values.items()}
            if not pairs <= seen:
                seen |= pairs
                yield values
    else:
        corners = [(parameter["min"], parameter["max"]) for parameter in sweep.parameters.values()]
        yield from (dict(zip(sweep.parameters, values, strict=True)) for values in product(*corners))
        yield from islice(trials.random(sweep, seed=0), 3)


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: file.stem)
def test_the_searched_metric_is_one_that_a_run_of_it_records(file: Path) -> None:
    """It names a measure, an objective and a δ that its trials certify, and seconds only where they are timed."""
    sweep = sweep_file.read(file)
    words = [word for word in sweep.command if "=" in word and "$" not in word]
    composing.register()
    with initialize_config_dir(str(composing.config_dir().resolve()), version_base="1.3"):
        config = composing.resolve(compose("config", overrides=words))
    assert sweep.metric is not None
    _, measure, promise, what = sweep.metric.split("/")
    objective, percent = promise.removesuffix("pct").split("_")
    assert list(config.measure) == [measure]
    assert float(percent) / 100 in getattr(config.calibration, objective)
    assert what in ("layers", "speedup")
    assert what != "speedup" or config.timing.examples > 0
