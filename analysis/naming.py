"""Names for runs of one experiment: the fewest words of their configs that tell them apart."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from calm_bench.config import NOT_RESULTS

IGNORED = ("measure", "name", *NOT_RESULTS)
"""Options that do not tell runs of one experiment apart: its name, and the measures, which may be run one by one."""
FIRST = ("model.name", "limit", "timed on")  # what tells runs apart in most folders
LONGEST = 24  # letters of a text that stands for itself


def settings(config: dict[str, Any], *free: str) -> dict[str, Any]:
    """The config as one level of dotted keys, without seeds, what is `IGNORED` and the `free` keys."""
    return {key: value for key, value in _flat(config).items() if not _is_seed(key) and key not in free}


def draw(config: dict[str, Any]) -> str:
    """What tells the repetitions of one setup apart: its seeds that are not 0, e.g. "seed 3"; "seed 0" where none."""
    seeds = {key: value for key, value in _flat(config).items() if _is_seed(key) and (value or key == "seed")}
    return ", ".join(f"{key} {value}" for key, value in sorted(seeds.items(), key=lambda item: item[0] != "seed"))


def words(config: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> list[str]:
    """What this config says, key by key, until no rival says the same, e.g. ["tau4"], ["limit20"] or ["exit_state"].

    config, rivals: as `settings` gives them. Empty where there is no rival, or one that says the same throughout.
    """
    said: list[str] = []
    left = list(rivals)
    keys = dict.fromkeys(key for one in (config, *rivals) for key in one)
    for key in sorted(keys, key=lambda key: (key not in FIRST, not _is_short(config.get(key)))):
        alike = [rival for rival in left if rival.get(key) == config.get(key)]
        if len(alike) < len(left):
            said.append(_word(key, config.get(key)))
            left = alike
    return said


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def add(value: Any, *path: str) -> None:
        if isinstance(value, dict) and value:
            for key, part in value.items():
                add(part, *path, str(key))
        else:
            flat[".".join(path)] = value

    add({key: value for key, value in config.items() if key not in IGNORED})
    return {key: value for key, value in flat.items() if key not in IGNORED}


def _is_seed(key: str) -> bool:
    return key.rsplit(".", 1)[-1].endswith("seed")


def _is_short(value: Any) -> bool:
    text = isinstance(value, str) and len(value) <= LONGEST and not {"/", "."} & set(value)
    return text or value is None or isinstance(value, bool | int | float)


def _word(key: str, value: Any) -> str:
    """A short text stands for itself, a number behind its key; for what is too long, four letters of its hash."""
    name = key.rsplit(".", 1)[-1]
    if not _is_short(value):
        return f"{name}-{hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:4]}"
    if isinstance(value, str):
        return value
    return f"no-{name}" if value is None else name + (f"{value:g}" if isinstance(value, float) else str(value))
