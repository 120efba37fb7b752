"""What Hydra refuses, said in one line: the option, the value, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from calm_bench.errors import InputError

KINDS = {  # by what OmegaConf says
    "could not be converted to Integer": "a whole number",
    "could not be converted to Float": "a number",
    "is not a valid bool": "true or false",
    "is not a ListConfig, list or tuple.": "a list, in brackets",
}
NO_NAME = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?|null|true|false", re.IGNORECASE)  # what Hydra takes for another kind


def one_line(error: Exception, schema: type, conf: Path) -> str:
    """An error of Hydra, or of what it has started for us, as one line.

    Args:
        schema: the dataclass of the whole configuration, whose options are suggested for a misspelt one.
        conf: the folder of config groups, whose files are listed for a choice that does not exist.
    """
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    match error:
        case OverrideParseException(override=override) if "=" not in override:
            meant = (conf / "experiment" / f"{override}.yaml").is_file()
            nearest = f" (did you mean +experiment={override}?)" if meant else ""
            return f"{override}: options are written KEY=VALUE{nearest}; see --help"
        case OverrideParseException(override=override):
            return f"{override}: {first}; see --help"
        case MissingConfigException(missing_cfg_file=str(file)):
            group, _, name = file.rpartition("/")
            return _no_choice(group, name, list(error.options or _choices(conf / group)))
        case ConfigCompositionException(__cause__=ConfigAttributeError() | ConfigKeyError() as cause):
            return unknown_option(str(cause.full_key), list(_options(schema)))
        case ConfigCompositionException(__cause__=OmegaConfBaseException() as cause):
            return not_taken(first.removeprefix("Error merging override "), cause)
        case ConfigCompositionException():
            return _about_choices(str(error))
    return first


def not_taken(given: str, error: OmegaConfBaseException) -> str:
    """The line about KEY=VALUE, `given`, whose value is of another kind than the option."""
    said = str(error).splitlines()[0]
    kinds = [words for sign, words in KINDS.items() if sign in said]
    return f"{given} must be {kinds[0]}" if kinds else f"{given}: {said}"


def refuse_words(words: list[str], schema: type, conf: Path) -> None:
    """Raise InputError for an option or a choice of ours that is written with dashes, which Hydra's have not, and for a
    number or the like where a choice is wanted, of which Hydra does not say which."""
    groups = {path.name for path in conf.iterdir() if path.is_dir()}
    for word in words:
        group, _, value = word.lstrip("+").partition("=")
        if group in groups and NO_NAME.fullmatch(value):
            raise InputError(_no_choice(group, value, _choices(conf / group)))
        name = word.removeprefix("--").split("=")[0]
        if word.startswith("--") and (name in groups or name in _options(schema)):
            plus, value = "+" if name == "experiment" else "", "NAME" if name in groups else "VALUE"
            raise InputError(f"{word}: options are written without dashes; write {plus}{name}={value}")


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


def _choices(group: Path) -> list[str]:
    return sorted(choice.stem for choice in group.glob("*.yaml"))


def _no_choice(group: str, name: str, allowed: list[str]) -> str:
    return f"{group}={name}: no such choice{_nearest(name, allowed)}; allowed: {', '.join(allowed)}"


def _about_choices(text: str) -> str:
    """What Hydra says, and has no attributes for, of a choice with or without a plus, and of several values."""
    if twice := re.match(r"Multiple values for ([\w/@.]+)\. ", text):
        return f"+{twice[1]}: something is chosen there already; write {twice[1]}=NAME, without the plus"
    if absent := re.match(r"Could not override '([^']+)'(?s:.*) use (\+\S+)", text):
        return f"{absent[1]}: nothing is chosen there by default; write {absent[2]}"
    if several := re.match(r"Ambiguous value for argument '([^']+)'", text):
        name, _, values = several[1].partition("=")
        return f"{several[1]}: write {name}=[{values}] for a list, or -m as well for a run of each"
    return text.splitlines()[0]


def _options(schema: type, prefix: str = "") -> Iterator[str]:
    """Dotted names of all options of a dataclass and of those inside it."""
    hints = get_type_hints(schema)
    for name in (field.name for field in fields(schema)):
        inner: list[Any] = [kind for kind in (hints[name], *get_args(hints[name])) if is_dataclass(kind)]
        yield f"{prefix}{name}"
        for kind in inner:
            yield from _options(kind, f"{prefix}{name}.")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:  # threshhold where calibration.threshold was meant
        tails = {option.rsplit(".", 1)[-1]: option for option in known}
        near = [tails[tail] for tail in difflib.get_close_matches(name.rsplit(".", 1)[-1], tails, n=1, cutoff=0.7)]
    return f" (did you mean {near[0]}?)" if near else ""
