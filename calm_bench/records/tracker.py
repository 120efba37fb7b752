"""A tracker: where people watch runs, alone or many beside each other. The record stays the truth whatever it does."""

from __future__ import annotations

from typing import Protocol

from calm_bench.following import Values
from calm_bench.records.store import Run


class Tracker(Protocol):
    """Told of one run. No method raises, and none but `end`, when the record is complete, takes more than a second."""

    def expect(self) -> None:
        """A run may begin in some seconds: what takes long to start is started."""

    def begin(self, run: Run) -> None:
        """The run has begun."""

    def tell(self, values: Values) -> None:
        """What the run tells while it goes on (`calm_bench.following`)."""

    def end(self, run: Run) -> None:
        """The run has ended, however; it may never have begun, where its record was finished before."""

    def forget(self, run: Run) -> None:
        """The run could not run at all; its record is about to be removed."""


class Untracked:
    """Nobody watches."""

    def expect(self) -> None:
        """Nothing."""

    def begin(self, run: Run) -> None:
        """Nothing."""

    def tell(self, values: Values) -> None:
        """Nothing."""

    def end(self, run: Run) -> None:
        """Nothing."""

    def forget(self, run: Run) -> None:
        """Nothing."""
