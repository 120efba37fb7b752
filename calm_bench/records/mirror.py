"""Weights & Biases gets a copy of a run that has ended. The folder is the truth; the copy may fail and cost no row."""

import logging
import netrc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from calm_bench.errors import InputError, in_one_line
from calm_bench.records import logged
from calm_bench.records.mirrored import Mirrored, size_of, state_of
from calm_bench.records.stage_cache import locked
from calm_bench.records.store import WANDB, Run
from calm_bench.records.upload import NotUploaded, synced, upload

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

FINISH_SECONDS = 10.0  # for a copy on the disk; W&B would wait for ever
LONGEST_TAG = 64  # that W&B takes
BESIDE = ("run_id", "created", "command", "environment")  # of run.json, beside the configuration
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
# W&B's own words for an exit status: 0 is finished, 255 is killed, any other failed.
EXIT_STATUS = {"finished": 0, "failed": 1, "interrupted": 255}


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
    told = logging.DEBUG if os.environ.get("WANDB_SILENT", "").lower() in ("true", "1") else logging.INFO
    with _environment():
        try:
            mode = resolve_mode(mode)
            if mode == "disabled":
                return
            with locked(run.path / WANDB / "mirror"):
                run = Run.open(run.path)  # another process may have added promises
                before = mirrored = Mirrored.of(run)
                if wandb_id not in (None, before.id):
                    before = mirrored = Mirrored(str(wandb_id))
                folder = before.copy(run) if before.state == state_of(run) else None
                if folder and (mode == "offline" or synced(folder)):
                    return
                if folder is None:
                    mirrored, folder = _copy(run, before, project=project, entity=entity, group=group, tags=tags)
                    mirrored.forget_before(run, before)
                if mode == "offline":
                    log.log(told, "W&B: offline; upload it with `wandb login` (once) and `wandb sync %s`", folder)
                    return
                try:
                    log.log(told, "W&B: %s", upload(folder, size_of(run)))
                    mirrored.forget_staging(run)
                except NotUploaded as error:
                    log.warning("W&B: not uploaded (%s); later: `wandb sync %s`, or this command again", error, folder)
        except Exception as error:  # W&B raises many kinds, and none may cost the run
            state = "complete" if run.status == "finished" else run.status
            log.warning("W&B: not mirrored (%s); %s is %s", _in_words(error), run.path, state)


def resolve_mode(mode: str) -> str:
    """The mode that `mode` stands for: `auto` is WANDB_MODE if set, else `online` with a key and `offline` without."""
    if mode != "auto":
        return mode
    given = os.environ.get("WANDB_MODE")
    if not given:
        return "online" if _logged_in() else "offline"
    if given not in MODES:
        raise InputError(f"WANDB_MODE={given} must be online, offline or disabled")
    return MODES[given]


def _logged_in() -> bool:
    import wandb

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = wandb.setup().settings
    if settings.api_key:  # from a settings file
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or settings.base_url).netloc
    for file in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        with suppress(OSError, netrc.NetrcParseError):
            hosts = netrc.netrc(os.path.expanduser(file)).hosts
            # W&B moved to another host in 2026 and still takes the keys that were saved for the old one; a server of
            # one's own does not.
            own = urlsplit(str(wandb.Settings.model_fields["base_url"].default)).netloc
            if server in hosts or (server == own and "api.wandb.ai" in hosts):
                return True
    return False


def _copy(run: Run, before: Mirrored, **where: Any) -> tuple[Mirrored, Path]:
    """A new copy of the record in a folder of W&B's, and what is kept of it."""
    state = state_of(run)
    staging = run.path / WANDB / f"staging-{before.id}-{time.time_ns()}"
    os.environ.setdefault("WANDB_DATA_DIR", str(staging.resolve()))  # `_environment` takes it away again
    tracked = _start(run, before.id, **where)
    folder = Path(tracked.dir).parent
    mirrored = before.copied_to(run, folder, staging)
    mirrored.keep(run)
    try:
        logged.log(run, tracked)
    finally:  # W&B's own `with` prints the traceback of an error that passes through
        tracked.finish(EXIT_STATUS.get(run.status, 1))
    mirrored = replace(mirrored, state=state)
    mirrored.keep(run)
    return mirrored, folder


def _start(
    run: Run, wandb_id: str, *, project: str, entity: str | None, group: str | None, tags: Sequence[str]
) -> "wandb.Run":
    """A W&B run on the disk."""
    import wandb

    return wandb.init(
        mode="offline",
        id=wandb_id,  # without `resume`, as each copy is whole: the server puts it in the place of the one before
        project=project,
        entity=entity,
        group=_chosen("WANDB_RUN_GROUP", group),
        job_type=_chosen("WANDB_JOB_TYPE", _job_type(run)),
        name=_chosen("WANDB_NAME", run.run_id),
        notes=_chosen("WANDB_NOTES", "\n".join(run.info["promises"])),
        tags=_tags(run, tags),
        dir=_chosen("WANDB_DIR", str(run.path)),
        config={**run.info["config"], **{key: run.info[key] for key in BESIDE}},
        settings=wandb.Settings(
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            # The record says what matters of the machine; names of hosts, remotes and programs stay here.
            disable_git=True,
            disable_code=True,
            host="",
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        ),
    )


def _chosen(variable: str, value: str | None) -> str | None:
    """What the variable says, else `value`. (W&B reads its variables once in a process, and an argument wins.)"""
    return os.environ.get(variable) or value


def _job_type(run: Run) -> str:
    """`train` for a run that trains (or takes what an earlier one trained), else `evaluate`."""
    training = run.info["config"].get("training") or {}
    return "train" if training.get("steps") or training.get("classifier_steps") else "evaluate"


def _tags(run: Run, more: Sequence[str]) -> list[str]:
    """What a person would filter by: task, model, measures, then WANDB_TAGS and `more`; W&B takes 64 letters."""
    config = run.info["config"]
    names = [(config.get(part) or {}).get("name") for part in ("task", "model")]
    given = os.environ.pop("WANDB_TAGS", "").split(",")  # else W&B reads it too, and takes no longer ones
    for tag in given:
        if len(tag) > LONGEST_TAG:
            log.warning("W&B: WANDB_TAGS: %s is cut to %d letters", tag, LONGEST_TAG)
    wanted = [*names, *(config.get("measure") or {}), *given, *more]
    return list(dict.fromkeys(str(tag)[:LONGEST_TAG] for tag in wanted if tag))


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {in_one_line(error)}"


@contextmanager
def _environment() -> Iterator[None]:
    """W&B without its own messages and reports; its variables are as they were afterwards."""
    before = {name: value for name, value in os.environ.items() if name.startswith(("WANDB_", "XDG_CACHE_HOME"))}
    for name in [name for name, value in before.items() if not value.strip()]:
        del os.environ[name]  # set to nothing is not set; W&B would look for a meaning
    if not _is_seconds(os.environ.get("WANDB_INIT_TIMEOUT", "1")):
        wrong = os.environ.pop("WANDB_INIT_TIMEOUT")
        log.warning("W&B: WANDB_INIT_TIMEOUT=%s is left aside: it must be a number of seconds above 0", wrong)
    if not os.access(os.path.expanduser("~"), os.W_OK):  # a container's user without a home: W&B wants to log there
        os.environ.setdefault("XDG_CACHE_HOME", tempfile.gettempdir())
    if resume := os.environ.pop("WANDB_RESUME", None):
        log.warning("W&B: WANDB_RESUME=%s is left aside: every copy of a record is whole", resume)
    os.environ["WANDB_SILENT"] = "true"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "XDG_CACHE_HOME"))]:
            if name not in before and name != "WANDB_SERVICE":
                del os.environ[name]
        os.environ.update(before)


def _is_seconds(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
