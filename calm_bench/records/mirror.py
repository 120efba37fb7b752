"""Weights & Biases gets a copy of a run that has ended. The folder is the truth; the copy may fail and cost no row."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm_bench.errors import InputError, in_one_line
from calm_bench.records import introduced, logged
from calm_bench.records.account import WANDB, environment, left_aside, level, resolve_mode
from calm_bench.records.mirrored import Mirrored, size_of, state_of
from calm_bench.records.stage_cache import locked
from calm_bench.records.store import Run
from calm_bench.records.upload import NotUploaded, synced, upload

log = logging.getLogger(__name__)


def mirror(
    run: Run,
    *,
    mode: str = "auto",
    project: str = "calm-bench",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    wandb_id: str | None = None,
) -> None:
    """Copy `run`, whatever its status, and its figures to W&B, unless W&B has it already; a failure is one warning.

    The copy is made on the disk, as W&B makes it offline, and uploaded from there: a slow or absent server costs
    seconds and loses nothing. A later copy of the same record has the same W&B id and takes the earlier one's place.

    Args:
        mode: `online`, `offline`, `disabled`, or `auto`: what WANDB_MODE says; without it online where this machine is
            logged in, else offline.
        group, tags: WANDB_RUN_GROUP wins over the first; the task, the model, the measures and WANDB_TAGS join the
            second. WANDB_NAME, WANDB_NOTES, WANDB_JOB_TYPE and WANDB_DIR win over what stands here, too. WANDB_SILENT
            leaves the warnings, WANDB_INIT_TIMEOUT says how long a server is waited for, WANDB_RESUME is refused.
        wandb_id: the id of the run in W&B, instead of the record's own.
    """
    told = level()
    for line in left_aside():
        log.warning("W&B: %s", line)
    with environment():
        try:
            mode = resolve_mode(mode)
            if mode == "disabled":
                return
            with locked(run.home / WANDB / "mirror"):
                run = Run.open(run.path)  # another process may have added promises
                before = mirrored = Mirrored.of(run)
                if wandb_id not in (None, before.id):
                    before = mirrored = Mirrored(str(wandb_id))
                folder = before.copy(run) if before.state == state_of(run) else None
                if folder and (mode == "offline" or synced(folder)):
                    return
                if folder is None:
                    mirrored, folder = _copy(run, before, project=project, entity=entity, group=group, tags=tags)
                    mirrored.forget_others(run)
                if mode == "offline":
                    later = f"`wandb login` (once) and `wandb sync {_as_given(run, folder)}`"
                    log.log(told, "W&B: offline; upload it with %s", later)
                    return
                try:
                    log.log(told, "W&B: %s", upload(folder, size_of(run)))
                    mirrored.forget_staging(run)
                except NotUploaded as error:
                    again = f"`wandb sync {_as_given(run, folder)}`, or this command again"
                    log.warning("W&B: not uploaded (%s); later: %s", error, again)
        except Exception as error:  # W&B raises many kinds, and none may cost the run
            state = "complete" if run.status == "finished" else run.status
            log.warning("W&B: not mirrored (%s); %s is %s", _in_words(error), run.path, state)


def _copy(run: Run, before: Mirrored, **where: Any) -> tuple[Mirrored, Path]:
    """A new copy of the record in a folder of W&B's, and what is kept of it."""
    state = state_of(run)
    for tag in introduced.tags_given():
        if len(tag) > introduced.LONGEST_TAG:
            log.warning("W&B: WANDB_TAGS: %s is cut to %d letters", tag, introduced.LONGEST_TAG)
    staging = run.home / WANDB / f"staging-{before.id}-{time.time_ns()}"
    os.environ.setdefault("WANDB_DATA_DIR", str(staging.resolve()))  # `environment` takes it away again
    tracked = introduced.begin(introduced.introduction(run, before.id, **where), "offline")
    folder = Path(tracked.dir).parent
    mirrored = before.copied_to(run, folder, staging)
    mirrored.keep(run)
    try:
        logged.log(run, tracked)
    finally:  # W&B's own `with` prints the traceback of an error that passes through
        tracked.finish(introduced.EXIT_STATUS.get(run.status, 1))
    mirrored = replace(mirrored, state=state)
    mirrored.keep(run)
    return mirrored, folder


def _as_given(run: Run, folder: Path) -> Path:
    """The path of one of W&B's folders, which W&B makes absolute, beginning as the user wrote `runs_dir`."""
    home = run.home.resolve()
    return run.home / folder.relative_to(home) if folder.is_relative_to(home) else folder


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {in_one_line(error)}"
