"""The trials of a sweep file: the values that each run gets, and the command line that starts it."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from calm_bench.errors import InputError
from calm_bench.sweep.file import Sweep, choices, distribution

Values = dict[str, Any]
Results = Sequence[tuple[Values, float | None]]  # what was tried, and the metric of it (None: it failed)
Proposer = Callable[[Results], Values | None]


def propose(sweep: Sweep, seed: int) -> Proposer:
    """A function that is given what was tried and returns the values of the next trial, or None when there is none.

    Grid and random need nothing of the results. Bayes asks W&B's `sweeps` package, seeded for each trial anew, so that
    trials that run one after another come out the same when the sweep is started again.
    """
    if sweep.method == "bayes":
        return _bayes(sweep, seed)
    values = grid(sweep) if sweep.method == "grid" else random(sweep, seed)
    return lambda _results: next(values, None)


def grid(sweep: Sweep) -> Iterator[Values]:
    """Every combination; the last parameter changes fastest."""
    values_of = {name: choices(name, parameter) for name, parameter in sweep.parameters.items()}
    for values in itertools.product(*values_of.values()):
        yield dict(zip(values_of, values, strict=True))


def random(sweep: Sweep, seed: int) -> Iterator[Values]:
    """Independent draws without an end. The same seed draws the same values."""
    rng = np.random.default_rng(seed)
    while True:
        yield {name: draw(name, parameter, rng) for name, parameter in sweep.parameters.items()}


def draw(name: str, parameter: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """One value of a parameter, from the distribution that it names or that W&B would take."""
    kind = distribution(name, parameter)
    if kind == "constant":
        return parameter["value"]
    if kind == "categorical":
        values, weights = parameter["values"], parameter.get("probabilities")
        return values[int(rng.choice(len(values), p=weights))]
    value = _DRAWS[kind.removeprefix("q_")](parameter, rng)
    if kind.startswith("q_"):
        step = parameter.get("q", 1)
        value = round(value / step) * step
    return value


_DRAWS: dict[str, Callable[[Mapping[str, Any], np.random.Generator], Any]] = {
    "int_uniform": lambda p, rng: int(rng.integers(p["min"], p["max"] + 1)),
    "uniform": lambda p, rng: float(rng.uniform(p["min"], p["max"])),
    "log_uniform": lambda p, rng: math.exp(rng.uniform(p["min"], p["max"])),  # its bounds are exponents
    "log_uniform_values": lambda p, rng: math.exp(rng.uniform(math.log(p["min"]), math.log(p["max"]))),
    "normal": lambda p, rng: float(rng.normal(p.get("mu", 0), p.get("sigma", 1))),
    "log_normal": lambda p, rng: float(rng.lognormal(p.get("mu", 0), p.get("sigma", 1))),
    "beta": lambda p, rng: float(rng.beta(p.get("a", 1), p.get("b", 1))),
}


def argv(sweep: Sweep, values: Values) -> list[str]:
    """The trial's command line, macro for macro as `wandb agent` makes it."""
    pairs = [f"{name}={value}" for name, value in values.items()]
    macros = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [sweep.program],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [word for name, value in values.items() for word in (f"--{name}", str(value))],
        "args_no_hyphens": pairs,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in values.items()
            if value is not False
        ],
        "args_json": [json.dumps(values)],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
    }
    words: list[str] = []
    for word in sweep.command:
        word = re.sub(r"\$\{envvar:([A-Z0-9_]*)\}", lambda match: os.environ.get(match[1], match[1]), word)
        if macro := re.fullmatch(r"\$\{(.*)\}", word):
            if macro[1] not in macros:
                raise InputError(f"command: {word} is not known here; known: {', '.join(macros)}, envvar:NAME")
            words += macros[macro[1]]
        else:
            words.append(word)
    return words


def starts_calm_bench(words: Sequence[str]) -> bool:
    """Whether a command is the suite's own: a sweep file may be a stranger's."""
    program = words[1:] if words[:1] == ["/usr/bin/env"] else words
    return program[:3] == ["python", "-m", "calm_bench"] or program[:1] == ["calm-bench"]


def _bayes(sweep: Sweep, seed: int) -> Proposer:
    package = importlib.util.find_spec("sweeps")
    if package is None or package.origin is None:  # a checkout's folder sweeps/ is none
        raise InputError(
            "method=bayes needs W&B's `sweeps` package, which is not installed: `pip install sweeps` (it asks for "
            "numpy below 2), or use method: random, or let W&B propose: `wandb sweep FILE` and `wandb agent`"
        )
    sweeps = importlib.import_module("sweeps")

    def next_values(results: Results) -> Values:
        runs = [
            sweeps.SweepRun(
                config={name: {"value": value} for name, value in values.items()},
                state=sweeps.RunState.failed if metric is None else sweeps.RunState.finished,
                summary_metrics={} if metric is None else {sweep.metric: metric},
            )
            for values, metric in results
        ]
        np.random.seed(seed + len(runs))  # noqa: NPY002  (the package draws from the global generator)
        proposed = sweeps.next_run(dict(sweep.source), runs)
        return {name: item["value"] for name, item in proposed.config.items()}

    return next_values
