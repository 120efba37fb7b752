"""Objects from the configuration: the class that a `_target_` names, with the arguments beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from calm_bench.errors import InputError


def build(node: Any) -> Any:
    """The object that a `_target_` and its arguments describe: a task, a measure. `options` are further arguments."""
    values: Any = dict(node) if isinstance(node, Mapping) else OmegaConf.to_container(OmegaConf.structured(node))
    values |= values.pop("options", {})
    try:
        return instantiate(values, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(f"{values.get('_target_')}: {str(cause).splitlines()[0]}") from error
