"""How W&B is reached: online or not, as its variables and its key say, and what of its variables is left aside."""

import logging
import netrc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from calm_bench.errors import InputError

WANDB = "wandb"  # the folder in a run's own of what W&B has of the record; it stays, whatever becomes of that
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


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


def level() -> int:
    """At which level what W&B does is logged, warnings apart."""
    return logging.DEBUG if os.environ.get("WANDB_SILENT", "").lower() in ("true", "1") else logging.INFO


def left_aside() -> list[str]:
    """In words, the variables that `environment` takes away although they are set to something."""
    found = []
    if not _is_seconds(timeout := os.environ.get("WANDB_INIT_TIMEOUT", "").strip() or "1"):
        found.append(f"WANDB_INIT_TIMEOUT={timeout} is left aside: it must be a number of seconds above 0")
    if resume := os.environ.get("WANDB_RESUME", "").strip():
        found.append(f"WANDB_RESUME={resume} is left aside: every copy of a record is whole")
    return found


@contextmanager
def environment() -> Iterator[None]:
    """W&B without its own messages and reports; its variables are as they were afterwards."""
    before = {name: value for name, value in os.environ.items() if name.startswith(("WANDB_", "XDG_CACHE_HOME"))}
    for name in [name for name, value in before.items() if not value.strip()]:
        del os.environ[name]  # set to nothing is not set; W&B would look for a meaning
    if not _is_seconds(os.environ.get("WANDB_INIT_TIMEOUT", "1")):
        del os.environ["WANDB_INIT_TIMEOUT"]
    if not os.access(os.path.expanduser("~"), os.W_OK):  # a container's user without a home: W&B wants to log there
        os.environ.setdefault("XDG_CACHE_HOME", tempfile.gettempdir())
    os.environ.pop("WANDB_RESUME", None)
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
