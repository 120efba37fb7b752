"""The native library: compiled where it runs, once, and kept in the user's cache directory."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from calm_bench.decoding.native.structures import declare

log = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("text.c")
SYSTEMS = ("Linux", "Darwin")
HEADERS = tuple(SOURCE.with_name(name) for name in ("products.h", "model.h", "layers.h", "head.h"))
# No -ffast-math: it may take the rounding trick out of `exponential`, and it assumes that nothing is NaN.
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi", "-shared", "-fPIC")


class NotBuilt(Exception):
    """Why there is no library, in words that follow a colon."""


@functools.cache
def library() -> ctypes.PyDLL:
    """The library for this machine; calls hold the interpreter's lock, since they share an executor's buffers.

    Raises:
        NotBuilt: no compiler, a compiler's error, a platform it was not written for, a cache that cannot be written.
    """
    if platform.system() not in SYSTEMS:
        raise NotBuilt(f"it was written for {' and '.join(SYSTEMS)}, this is {platform.system()}")
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise NotBuilt(f"there is no C compiler ({os.environ.get('CC') or 'cc'}) on the path")
    flags = [*FLAGS, *machine_flags()]
    path = cache_folder() / f"native-{key(flags)}.so"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):  # of many processes that start at once, one compiles
                if not path.exists():
                    log.info("compiling the native executor with %s, once for this machine", compiler)
                    compile_library([compiler, *flags], path)
        loaded = ctypes.PyDLL(str(path))
    except OSError as error:
        raise NotBuilt(f"{path.parent} cannot be used as its cache ({error.strerror or error})") from error
    declare(loaded)
    return loaded


def compile_library(command: Sequence[str], path: Path) -> None:
    """Run a compiler with these flags; `path` appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        done = subprocess.run(
            [*command, str(SOURCE), "-o", str(made), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["no message"]
            raise NotBuilt(f"{command[0]} failed with {words[0]}")
        made.replace(path)


def machine_flags() -> list[str]:
    """Flags for all that this machine's processor can do."""
    if platform.machine() in ("arm64", "aarch64"):
        return ["-mcpu=native"]
    return ["-march=native", "-mprefer-vector-width=512"]


def cache_folder() -> Path:
    """Where a user's programs keep what they can make again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "calm-bench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calm-bench"


def key(flags: Sequence[str]) -> str:
    """What decides the machine code: sources, flags, and the processor, as homes are shared between machines."""
    digest = hashlib.sha256(" ".join([*flags, sys.platform, platform.machine(), processor()]).encode())
    for file in (SOURCE, *HEADERS):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def processor() -> str:
    """The processor and what it can do, as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))
