"""What Hydra refuses, said in one line: the option, the value, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from calm_bench.errors import InputError


def one_line(report: str, schema: type, conf: Path) -> str:
    """Hydra's report of a command line that it refuses.

    Args:
        schema: the dataclass of the whole configuration, whose options are suggested for a misspelt one.
        conf: the folder of config groups, whose files are listed for a choice that does not exist.
    """
    if option := re.search(r"Could not override '([^']+)'", report):
        if "@" in option[1]:
            return f"{option[1]}: nothing is chosen there by default; write +{option[1]}=NAME"
        return unknown_option(option[1], list(_options(schema)))
    if twice := re.search(r"Multiple values for ([\w/@.]+)\.", report):
        return f"+{twice[1]}: something is chosen there already; write {twice[1]}=NAME, without the plus"
    if choice := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", report):
        group, name = choice[1], choice[2]
        allowed = sorted(file.stem for file in (conf / group).glob("*.yaml"))
        return f"{group}={name}: no such choice{_nearest(name, allowed)}; allowed: {', '.join(allowed)}"
    lines = [line.strip() for line in report.strip().splitlines() if line.strip()]
    if "Traceback (most recent call last):" in lines:  # not Hydra's own refusal, but of something that it started
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        return errors[-1] if errors else lines[-1]
    if lines and (wrong := re.search(r"error: (.+)$", lines[-1])):
        return f"{wrong[1]}; see --help"
    noise = (
        "Set the environment variable",
        "full_key",
        "object_type",
        "reference_type",
        "Config search path",
        "provider=",
    )
    kept = [line.removeprefix("Error merging override ") for line in lines if not line.startswith(noise)]
    return ": ".join(kept[:2]) if kept else "the configuration could not be composed"


def refuse_unknown(composed: DictConfig, schema: type, prefix: str = "") -> None:
    """Raise InputError for an option that `+` has added to a part of the configuration that has no such option."""
    known = {field.name for field in fields(schema)}
    for key, value in composed.items_ex(resolve=False):
        if key not in known:
            raise InputError(unknown_option(prefix + str(key), list(_options(schema, prefix))))
        kind = OmegaConf.get_type(value) if isinstance(value, DictConfig) else None
        if kind is not None and is_dataclass(kind):
            refuse_unknown(value, kind, f"{prefix}{key}.")


def unknown_option(name: str, known: list[str], listing: str = "--cfg job") -> str:
    """The line about an option that is none of `known`; the argument `listing` shows them all."""
    return f"{name}: no such option{_nearest(name, known)}; `{listing}` lists all"


def _options(schema: type, prefix: str = "") -> Iterator[str]:
    """Dotted names of all options of a dataclass and of those inside it."""
    for name, hint in get_type_hints(schema).items():
        inner: list[Any] = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
        yield f"{prefix}{name}"
        for kind in inner:
            yield from _options(kind, f"{prefix}{name}.")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:  # threshhold where calibration.threshold was meant
        tails = {option.rsplit(".", 1)[-1]: option for option in known}
        near = [tails[tail] for tail in difflib.get_close_matches(name.rsplit(".", 1)[-1], tails, n=1, cutoff=0.7)]
    return f" (did you mean {near[0]}?)" if near else ""
