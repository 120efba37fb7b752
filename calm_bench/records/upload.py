"""A run that W&B keeps offline, sent to its server by `wandb sync` in a process of its own: slow W&B can be left."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PATIENCE = 10.0  # seconds; WANDB_INIT_TIMEOUT wins
BYTES_PER_SECOND = 5e6  # a slower upload is left to the user


class NotUploaded(Exception):
    """The server did not take the run, or not in time. The message is one line."""


def upload(folder: Path, size: int) -> str:
    """Upload the run in `folder` and return the address of its page.

    It is given up after 10 seconds and one more for each 5 MB; WANDB_INIT_TIMEOUT stands in for the 10.

    Args:
        size: bytes of the files that the run refers to, beside its own.

    Raises:
        NotUploaded: what was not sent is still in `folder`. The same upload may be tried again.
    """
    seconds = float(os.environ.get("WANDB_INIT_TIMEOUT") or PATIENCE) + size / BYTES_PER_SECOND
    said = _sync(folder, seconds)
    if not synced(folder):
        raise NotUploaded(_reason(said))
    address = re.search(r"View run .* at (\S+)", said)
    return address[1] if address else "uploaded"


def synced(folder: Path) -> bool:
    """Whether `wandb sync`, ours or the user's, has sent all of the run."""
    return any(folder.glob("run-*.wandb.synced"))


def _sync(folder: Path, seconds: float) -> str:
    """What `wandb sync` prints. It is ended when the time is up, and when this process is."""
    import wandb

    environment = {
        **os.environ,
        "WANDB_BASE_URL": wandb.setup().settings.base_url,
        "WANDB_DIR": str(folder.parent.parent),  # for its logs, which else come to be where the user stands
        "WANDB_MODE": "online",
        "WANDB_SILENT": "false",
    }
    environment.pop("WANDB_SERVICE", None)  # the W&B process that we have started
    with subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,  # it may not ask for a key
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,  # Ctrl-C reaches it through us
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NotUploaded(f"no end after {seconds:.0f} s") from None
        finally:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid, signal.SIGKILL)
    return said


def _reason(said: str) -> str:
    """The last error that W&B names, else its last line."""
    errors = re.findall(r"(?i)\berror:? (?!logs)(\S.*)", said)
    return str(errors[-1]) if errors else (said.strip().splitlines() or ["without a word"])[-1]
