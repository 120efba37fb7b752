"""What an entry of the catalogue is: a figure or a table, made by one function of the records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from analysis import scopes
from analysis.load import Records
from analysis.scopes import Scope

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.tables.formats import Table


@dataclass(frozen=True)
class Drawn:
    """A figure and the numbers that it shows, which become its CSV."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Output:
    """A figure or table; `make` raises InputError where the records of a part do not allow it.

    stem: of its files; a part's label follows it. title: what it shows. paper: what it stands beside. scope: its parts,
    each group unless it says otherwise. absent: what is said where there is no part. lone: it shows what belongs to one
    run, or costs much for each, so of several seeds the first alone is drawn.
    """

    stem: str
    title: str
    paper: str
    make: Callable[[Records], Figure | Drawn | Table]
    scope: Scope = scopes.groups
    absent: str = ""
    lone: bool = False


def asked_by(experiment: str) -> str:
    """What is said where an experiment of the suite has not been run."""
    command = f"python -m calm_bench +experiment={experiment}"
    return f"no runs of +experiment={experiment}: {command} makes them"
