"""Every sweep file composes, for every value that its agent could pass."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from calm_bench import config as configuration

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_trial_composes(file: Path) -> None:
    sweep = yaml.safe_load(file.read_text())
    assert "${args_no_hyphens}" in sweep["command"]  # without it the agent runs the defaults and says nothing
    fixed = [word for word in sweep["command"] if "=" in word]
    parameters = sweep["parameters"]
    configuration.register()
    with initialize_config_dir(str(configuration.config_dir().resolve()), version_base="1.3"):
        for values in product(*(parameter["values"] for parameter in parameters.values())):
            arguments = [f"{name}={value}" for name, value in zip(parameters, values, strict=True)]
            config = configuration.resolve(compose("config", overrides=[*fixed, *arguments]))
            assert len(config.measure) == 1
