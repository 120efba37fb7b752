"""A configuration as the command line makes one of its words, without a process of its own."""

from hydra import compose, initialize_config_dir

from calm_bench import compose as composing
from calm_bench.config import Config


def composed(*overrides: str) -> Config:
    composing.register()
    with initialize_config_dir(str(composing.config_dir().resolve()), version_base="1.3"):
        return composing.resolve(compose("config", list(overrides)))
