"""Several processes that make one run together, as `torchrun` and `accelerate launch` start them; mostly there is one.

    torchrun --nproc_per_node=4 -m calm_bench +experiment=cnndm

They train together, and each decodes and scores its share of the examples; the shares meet in runs_dir, which all must
see.
The first one leads: it alone holds locks, certifies, times, writes the record and speaks to people.
"""

from __future__ import annotations

import atexit
import os
from datetime import timedelta
from typing import TypeVar

from calm_bench.errors import InputError

Value = TypeVar("Value")
PATIENCE = timedelta(days=30)  # a process may wait for one that decodes; libraries would give up after ten minutes


VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check() -> None:
    """Raises InputError, and takes them away, where the variables by which processes find each other make no sense."""
    size, number = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    missing = [name for name in VARIABLES if name not in os.environ]
    refusal = None
    if not size.isdecimal() or not 1 <= int(size) <= 100_000:
        refusal = f"WORLD_SIZE={size!r} must be a number of processes, at least 1"
    elif "RANK" in os.environ and missing:
        refusal = f"RANK={number} is set without {missing[0]}: torchrun sets both, a lone run wants neither"
    elif not missing and not (number.isdecimal() and int(number) < int(size)):
        refusal = f"RANK={number!r} must be a number below WORLD_SIZE={size}"
    if refusal:
        for name in VARIABLES:
            os.environ.pop(name, None)
        raise InputError(refusal)


def count() -> int:
    """How many processes make this run."""
    return int(os.environ["WORLD_SIZE"]) if set(VARIABLES) <= os.environ.keys() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_first() -> bool:
    """Whether this process leads."""
    return rank() == 0


def share(parts: int) -> range:
    """Which of so many parts, from 0, are this process's."""
    return range(rank(), parts, count())


def label(what: str) -> str:
    """What a progress bar is called that shows the first process's share alone."""
    return what if count() == 1 else f"{what}, share of 1 in {count()}"


def join(device: str) -> None:
    """Meet the others; on "cuda" this process takes the card of its number on this machine. Called before the rest."""
    if count() > 1:
        from accelerate import PartialState  # here: reading records must not load torch

        if not PartialState._shared_state:  # else an earlier job of this multirun has joined
            atexit.register(PartialState(cpu=device == "cpu", timeout=PATIENCE).destroy_process_group)


def wait() -> None:
    """Return once every process has come here."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def agree(value: Value) -> Value:
    """The first process's value, in every process."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    values: list[Value] = broadcast_object_list([value])
    return values[0]
