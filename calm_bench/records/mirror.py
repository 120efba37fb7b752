"""Weights & Biases gets a copy of a run that has ended. The folder is the truth; the copy may fail and cost no row."""

import logging
import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from calm_bench.records import logged
from calm_bench.records.store import Run

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

INIT_SECONDS = 5.0  # W&B would wait 90 for a server that cannot be reached
FINISH_SECONDS = 120.0  # for the upload; what is not sent by then stays on the disk for `wandb sync`
FINISH_SECONDS_UNFINISHED = 10.0  # an interrupted run has little to send, and somebody waits for its end
BESIDE = ("run_id", "created", "command", "environment")  # of run.json, beside the configuration
# W&B's own words for an exit status: 0 is finished, 255 is killed, any other failed.
EXIT_STATUS = {"finished": 0, "failed": 1, "interrupted": 255}


def mirror(
    run: Run,
    figures: Mapping[str, Path],
    *,
    mode: str = "auto",
    project: str = "calm-bench",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
) -> None:
    """Copy `run`, whatever its status, and its `figures` (name to image file) to W&B; a failure is one warning.

    Args:
        mode: `online`, `offline`, `disabled`, or `auto`: what WANDB_MODE says; without it online where this machine is
            logged in, else offline. A run for which no server answers is kept offline too.
        group, tags: WANDB_RUN_GROUP wins over the first; the task, the model, the measures and WANDB_TAGS join the
            second. WANDB_NAME, WANDB_NOTES, WANDB_JOB_TYPE and WANDB_DIR win over what stands here, too.
    """
    with _quiet(run):
        try:
            mode = resolve_mode(mode)
            if mode == "disabled":
                return
            with _tracked(run, mode=mode, project=project, entity=entity, group=group, tags=tags) as tracked:
                offline, place = tracked.offline, tracked.url or Path(tracked.dir).parent
                logged.log(run, figures, tracked)
        except Exception as error:  # W&B raises many kinds, and none may cost the run
            log.warning(
                "W&B: not mirrored (%s); %s is %s",
                _one_line(error),
                run.path,
                "complete" if run.status == "finished" else run.status,
            )
            return
    if offline:
        log.info("W&B: offline; upload it with `wandb login` (once) and `wandb sync %s`", place)
    else:
        log.info("W&B: %s", place)


def resolve_mode(mode: str) -> str:
    """The mode that `mode` stands for: `auto` is WANDB_MODE if set, else `online` with a key and `offline` without."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")


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
            # W&B moved to another host in 2026 and still takes the keys that were saved for the old one.
            if server in hosts or "api.wandb.ai" in hosts:
                return True
    return False


@contextmanager
def _tracked(run: Run, **where: Any) -> Iterator["wandb.Run"]:
    """A W&B run that is always finished. (W&B's own `with` prints the traceback of an error that passes through.)"""
    tracked = _start(run, **where)
    exit_code = 1
    try:
        yield tracked
        exit_code = EXIT_STATUS.get(run.status, 1)
    finally:
        tracked.finish(exit_code)


def _start(
    run: Run, *, mode: str, project: str, entity: str | None, group: str | None, tags: Sequence[str]
) -> "wandb.Run":
    """A W&B run; an offline one where no server answers."""
    import wandb

    def init(mode: str) -> "wandb.Run":
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]  # W&B checks it
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
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS if run.status == "finished" else FINISH_SECONDS_UNFINISHED,
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

    try:
        return init(mode)
    except wandb.errors.CommError as error:
        if mode != "online":
            raise
        log.warning("W&B: no answer (%s); kept offline", _one_line(error))
        return init("offline")


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
    given = os.environ.get("WANDB_TAGS", "").split(",")
    found = [*names, *(config.get("measure") or {}), *given, *more]
    return list(dict.fromkeys(str(tag)[:64] for tag in found if tag))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _quiet(run: Run) -> Iterator[None]:
    """W&B without its own messages and reports, its working copies inside the run's folder; undone afterwards."""
    wanted = {
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": os.environ.get("WANDB_ERROR_REPORTING", "false"),
        # W&B's own choice is below ~/.local/share, which a cluster may not let us write.
        "WANDB_DATA_DIR": os.environ.get("WANDB_DATA_DIR", str((run.path / "wandb").resolve())),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
