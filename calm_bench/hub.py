"""Whether the Hugging Face hub answers, asked once, before libraries ask it again and again for a minute."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from calm_bench.errors import InputError

SECONDS = 2.0
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
KINDS = {"model": "models", "task": "datasets"}
INSTEAD = {"model": "save_pretrained folder", "task": "folder with {train,validation,test}.parquet or .jsonl"}


def require(names: Mapping[str, str]) -> None:
    """Where the hub does not answer within 2 seconds, have libraries take what was kept of it, without asking again.

    To be called before huggingface_hub is imported, which reads its variables once.

    Args:
        names: what is wanted of the hub, by its group in the configuration: {"model": "google/t5-v1_1-small"}.

    Raises:
        InputError: it does not answer, and of one of them nothing was kept.
    """
    off = any(os.environ.get(variable, "").upper() in ("1", "TRUE", "YES", "ON") for variable in OFFLINE)
    if not names or not (off or _is_silent()):
        return
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    for group, name in names.items():
        if not (_kept() / f"{KINDS[group]}--{name.replace('/', '--')}").is_dir():
            why = "is switched off (HF_HUB_OFFLINE)" if off else "does not answer"
            instead = f"give {group}.path a {INSTEAD[group]}"
            raise InputError(f"{group}: the Hugging Face hub {why}, and nothing of {name} is kept here; {instead}")


def _is_silent() -> bool:
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(_answers()), daemon=True)  # a name may resolve for ever
    asking.start()
    asking.join(SECONDS)
    return not any(answers)


def _answers() -> bool:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True  # an answer all the same
    except (OSError, ValueError):
        return False
    return True


def _kept() -> Path:
    """Where huggingface_hub keeps what it has fetched."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()
