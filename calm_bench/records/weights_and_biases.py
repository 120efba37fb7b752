"""Weights & Biases as a tracker: the run is live there while it goes on, and is replaced by a copy of its record."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from calm_bench.errors import in_one_line
from calm_bench.following import Values
from calm_bench.records.account import MODES, WANDB
from calm_bench.records.introduced import introduction
from calm_bench.records.live import Live, start_follower
from calm_bench.records.mirror import mirror
from calm_bench.records.mirrored import Mirrored
from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run

log = logging.getLogger(__name__)


@dataclass
class WeightsAndBiases:
    """The options are `mirror`'s."""

    mode: str = "auto"
    project: str = "calm-bench"
    entity: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    wandb_id: str | None = None
    _live: Live | None = field(default=None, init=False)
    _follower: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def expect(self) -> None:
        """Import W&B beside what the run imports."""
        if self._live_mode != "disabled":
            with suppress(OSError):  # then `begin` says so
                self._follower = start_follower()

    def begin(self, run: Run) -> None:
        """Show the run from now on, unless W&B is off."""
        if (mode := self._live_mode) == "disabled":
            return
        try:
            mirrored = Mirrored.of(run)
            mirrored.keep(run)  # a run that dies has the same id when it goes on
            introduced = introduction(run, self.wandb_id or mirrored.id, **self._place)
            self._live = Live(run.home, introduced, mode, self._follower)
        except Exception as error:  # of many kinds, and none may cost the run
            log.warning("W&B: not shown while it runs (%s: %s)", type(error).__name__, in_one_line(error))

    def tell(self, values: Values) -> None:
        """Show it."""
        if self._live:
            self._live.tell(values)

    def end(self, run: Run) -> None:
        """Put a copy of the record in the place of what was shown."""
        summary: dict[str, float] = {}
        with suppress(Exception):  # a record that ended early lacks tables
            summary = scalars(run)
        self._leave(run.status, summary)
        mirror(run, mode=self.mode, wandb_id=self.wandb_id, **self._place)

    def forget(self, run: Run) -> None:
        """Call it failed, and leave nothing of it on the disk that was not there before."""
        self._leave("failed", {})
        mirrored = Mirrored.of(run)
        if mirrored.folder is None:
            shutil.rmtree(run.home / WANDB, ignore_errors=True)
        mirrored.forget_others(run)

    @property
    def _live_mode(self) -> str:
        """auto, online, offline or disabled; what is none of them is refused in words at the end."""
        mode = os.environ.get("WANDB_MODE") or "auto" if self.mode == "auto" else self.mode
        return mode if mode == "auto" else MODES.get(mode, "disabled")

    @property
    def _place(self) -> dict[str, Any]:
        """Where the run is found in W&B."""
        return {"project": self.project, "entity": self.entity, "group": self.group, "tags": self.tags}

    def _leave(self, status: str, summary: dict[str, float]) -> None:
        if self._live:
            self._live.end(status, summary)
            self._live = None
