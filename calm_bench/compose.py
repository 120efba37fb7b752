"""Hydra's part: the schema it composes YAML into, and the composed configuration as checked dataclasses."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calm_bench.config import Config
from calm_bench.errors import InputError
from calm_bench.refusal import refuse_unknown

PACKAGE = Path(__file__).parent


def register() -> None:
    """Make the schema and the resolvers known to Hydra; called once, before it composes."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("assets", lambda name: str(PACKAGE / "assets" / name), replace=True)


def config_dir() -> Path:
    """conf/, inside an installed package or beside a checkout's."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def resolve(composed: DictConfig) -> Config:
    """The composed configuration as checked dataclasses. Raises InputError."""
    refuse_unknown(composed, Config)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:  # a value that is not given, or ${...} that leads nowhere
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, Config)
    return config
