"""Objects from the configuration: the class that a `_target_` names, built with the values beside it.

Only classes below the suite's own bases are built, so that a configuration can start nothing else.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from calm_bench.errors import InputError

Built = TypeVar("Built")

BASES = (
    "calm_bench.calibration.methods.Method",
    "calm_bench.measures.measure.Measure",
    "calm_bench.metrics.metric.Metric",
    "calm_bench.probes.probe.Probe",
    "calm_bench.tasks.task.Task",
)
"""By name, for importing them all would take seconds."""


def build(node: Any, base: type[Built], within: Sequence[str] | None = None) -> Built:
    """The object of a class below `base` that a mapping or dataclass with a `_target_` describes.

    `options` in it are further arguments; arguments may be described alike.

    Args:
        within: packages and modules outside of which nothing is even imported, for what is read from a record; None
            for what the user has typed or has in a YAML file.

    Raises:
        InputError: a class that is not there or is none of ours; whatever goes wrong in its own file, which is named.
    """
    values = asdict(node) if is_dataclass(node) and not isinstance(node, type) else dict(node)
    values |= values.pop("options", {})
    built = _build(values, within)
    if not isinstance(built, base):
        raise InputError(f"{values.get('_target_')}: must be a {base.__name__}, a subclass of {_name(base)}")
    return built


def _build(value: Any, within: Sequence[str] | None) -> Any:
    if isinstance(value, Mapping):
        arguments = {key: _build(inner, within) for key, inner in value.items() if key != "_target_"}
        return _constructed(str(value["_target_"]), arguments, within) if "_target_" in value else arguments
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_build(inner, within) for inner in value]
    return value


def _constructed(path: str, arguments: dict[str, Any], within: Sequence[str] | None) -> Any:
    if within is not None and not any(path.startswith(f"{module}.") for module in within):
        raise InputError(f"{path} is code from outside, which a record may not name; --allow MODULE lets it in")
    kind = _find(path)
    try:
        return kind(**arguments)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {cause(error)}") from error


def require(node: Any) -> None:
    """Raises InputError where a `_target_` in these values names no class that may be built; nothing is built."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            _find(str(node["_target_"]))
        node = list(node.values())
    if isinstance(node, Sequence) and not isinstance(node, str):
        for inner in node:
            require(inner)


def _find(path: str) -> type:
    """The class at `module.Class`. Raises InputError where there is none, or none below one of `BASES`."""
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or name), name, None)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise InputError(f"{path}: no module {error.name!r}; its folder must be on PYTHONPATH") from error
        raise InputError(f"{path}: {cause(error)}") from error
    except Exception as error:
        raise InputError(f"{path}: {cause(error)}") from error
    if not isinstance(kind, type):
        raise InputError(f"{path}: module {module!r} has no class {name!r}")
    if not any(_name(ancestor) in BASES for ancestor in kind.__mro__):
        known = ", ".join(base.rpartition(".")[2] for base in BASES)
        raise InputError(f"{path}: only classes below calm_bench's own are built: {known}")
    return kind


def cause(error: BaseException) -> str:
    """An error in one line, with the place in the file that raised it where that is not ours."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    outside = last is not None and Path(last.filename) != Path(__file__) and not last.filename.startswith("<frozen")
    return f"{last.filename}, line {last.lineno}: {words}" if last and outside else words


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
