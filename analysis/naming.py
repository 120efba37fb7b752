"""Names for runs of one experiment: the fewest words of their configs that tell them apart."""

import json
from collections.abc import Sequence
from typing import Any

from calm_bench.config import NOT_RESULTS

IGNORED = ("measure", "name", *NOT_RESULTS)
"""Options that do not tell runs of one experiment apart: its name, and the measures, which may be run one by one."""
FIRST = ("model.name", "seed")  # what tells runs apart in most folders


def settings(config: dict[str, Any], *free: str) -> dict[str, Any]:
    """The config as one level of dotted keys, without what is `IGNORED` and the `free` keys."""
    flat: dict[str, Any] = {}

    def add(value: Any, *path: str) -> None:
        if isinstance(value, dict) and value:
            for key, part in value.items():
                add(part, *path, str(key))
        else:
            flat[".".join(path)] = value

    add({key: value for key, value in config.items() if key not in IGNORED})
    return {key: value for key, value in flat.items() if key not in (*IGNORED, *free)}


def same(config: dict[str, Any], *free: str) -> str:
    """Equal for configs that differ in nothing but what is `IGNORED` and the `free` keys."""
    return json.dumps(settings(config, *free), sort_keys=True, default=str)


def words(config: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> list[str] | None:
    """What this config says, key by key, until no rival says the same, e.g. ["seed1"], ["tau4"] or ["exit_state"].

    config, rivals: as `settings` gives them. Empty where there is no rival; None where no short value tells them apart.
    """
    said: list[str] = []
    left = list(rivals)
    shared = [key for key in config if all(key in rival for rival in rivals)]
    for key in sorted(shared, key=lambda key: key not in FIRST):
        alike = [rival for rival in left if rival[key] == config[key]]
        if len(alike) < len(left) and (word := _word(key, config[key])):
            said.append(word)
            left = alike
    return None if left else said


def _word(key: str, value: Any) -> str:
    """A text stands for itself, a number behind its key; lists and folders are too long for a name."""
    if isinstance(value, str):
        return "" if "/" in value or "." in value else value
    if isinstance(value, list | dict):
        return ""
    return key.rsplit(".", 1)[-1] + (f"{value:g}" if isinstance(value, float) else str(value))
