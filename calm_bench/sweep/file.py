"""A W&B sweep file, checked: the keys that decide which trials there are and how each is started."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calm_bench.errors import InputError

METHODS = ("grid", "random", "bayes")
DISTRIBUTIONS = (
    "constant", "categorical", "int_uniform", "uniform", "log_uniform", "log_uniform_values", "normal", "log_normal",
    "beta", "q_uniform", "q_log_uniform", "q_log_uniform_values", "q_normal", "q_log_normal", "q_beta",
)  # fmt: skip
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")


@dataclass(frozen=True)
class Sweep:
    """A sweep file that has been checked. `parameters` maps dotted options to W&B's description of their values."""

    name: str
    method: str
    program: str
    command: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    metric: str | None
    maximizes: bool
    run_cap: int | None
    source: Mapping[str, Any]


def read(path: Path) -> Sweep:
    """The sweep in a YAML file. Raises InputError that names the file, the key, its value and what is allowed."""
    try:
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a sweep file such as sweeps/demo.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return _checked(source, path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _checked(source: Any, stem: str) -> Sweep:
    if not isinstance(source, dict):
        raise InputError("must be a mapping with program, method, parameters and command")
    method = source.get("method")
    if method not in METHODS:
        raise InputError(f"method={method!r} must be one of {', '.join(METHODS)}")
    parameters = source.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise InputError("parameters: at least one is needed, such as seed: {values: [0, 1, 2]}")
    for name, parameter in parameters.items():
        distribution(name, parameter)
        if method == "grid":
            choices(name, parameter)
    command = source.get("command", DEFAULT_COMMAND)
    if isinstance(command, str) or not all(isinstance(word, str | int | float) for word in command):
        raise InputError(f"command={command!r} must be a list of words")
    if not any("${args" in str(word) for word in command):
        raise InputError("command: without ${args_no_hyphens} every trial would run the defaults")
    metric = source.get("metric")
    if metric is not None and not (isinstance(metric, dict) and isinstance(metric.get("name"), str)):
        raise InputError(f"metric={metric!r} must have a name and a goal, minimize or maximize")
    if method == "bayes" and metric is None:
        raise InputError("metric: method bayes needs one, such as {name: NAME, goal: minimize}")
    cap = source.get("run_cap")
    if cap is not None and not (isinstance(cap, int) and cap > 0):
        raise InputError(f"run_cap={cap!r} must be an integer of at least 1")
    return Sweep(
        name=str(source.get("name") or stem),
        method=method,
        program=str(source.get("program", "")),
        command=tuple(map(str, command)),
        parameters=parameters,
        metric=metric["name"] if metric else None,
        maximizes=metric is not None and metric.get("goal") == "maximize",
        run_cap=cap,
        source=source,
    )


def distribution(name: str, parameter: Any) -> str:
    """The distribution of a parameter's values, checked; W&B's rule where none is named."""
    where = f"parameters.{name}"
    if not isinstance(parameter, dict):
        raise InputError(f"{where}={parameter!r} must say value, values, or min and max")
    if "parameters" in parameter:
        raise InputError(f"{where}: Hydra takes no nested parameters; write dotted names, such as {name}.KEY")
    bounds = (parameter.get("min"), parameter.get("max"))
    if "value" in parameter:
        kind = "constant"
    elif "values" in parameter:
        kind = "categorical"
        if not isinstance(parameter["values"], list) or not parameter["values"]:
            raise InputError(f"{where}.values={parameter['values']!r} must be a list of at least one value")
        weights = parameter.get("probabilities")
        if weights is not None and (len(weights) != len(parameter["values"]) or not math.isclose(sum(weights), 1)):
            raise InputError(f"{where}.probabilities={weights} must be one for each value, with sum 1")
    else:
        kind = str(parameter.get("distribution", "int_uniform" if _integers(bounds) else "uniform"))
        if kind not in DISTRIBUTIONS:
            raise InputError(f"{where}.distribution={kind} must be one of {', '.join(DISTRIBUTIONS)}")
        if "uniform" in kind:
            _check_bounds(where, kind, *bounds)
    for value in parameter.get("values", [parameter.get("value")]):
        if value is None and kind in ("constant", "categorical"):
            raise InputError(f"{where}: Hydra would read None as a word; write the text 'null'")
        if isinstance(value, dict) or (isinstance(value, str) and re.search(r"[,=](?![^\[]*\])", value)):
            raise InputError(f"{where}: value {value!r} cannot be passed to Hydra; use dotted names and one value each")
    return kind


def choices(name: str, parameter: Mapping[str, Any]) -> list[Any]:
    """The values that a grid goes through. Raises InputError where they cannot be counted."""
    kind = distribution(name, parameter)
    if kind in ("constant", "categorical") and "probabilities" not in parameter:
        return parameter["values"] if kind == "categorical" else [parameter["value"]]
    if kind == "int_uniform":
        return list(range(parameter["min"], parameter["max"] + 1))
    if kind == "q_uniform":
        return list(np.arange(parameter["min"], parameter["max"], parameter.get("q", 1)).tolist())
    raise InputError(f"parameters.{name}: a grid needs value, values, or integer min and max; use method: random")


def _check_bounds(where: str, kind: str, low: Any, high: Any) -> None:
    found = f"{where}: min={low!r}, max={high!r}"
    if not all(isinstance(bound, int | float) for bound in (low, high)) or low >= high:
        raise InputError(f"{found} must be numbers, min below max")
    if kind == "int_uniform" and not _integers((low, high)):
        raise InputError(f"{found} must be integers")
    if "log_uniform_values" in kind and low <= 0:
        raise InputError(f"{found} must be above 0")


def _integers(bounds: tuple[Any, Any]) -> bool:
    return all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
