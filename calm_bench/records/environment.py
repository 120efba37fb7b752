"""What a record says of the machine: enough to compare two runs, nothing that names a person, a host or a folder."""

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from calm_bench import processes

_LIBRARIES = (
    "calm-bench", "torch", "transformers", "tokenizers", "datasets", "evaluate", "sacrebleu", "rouge-score",
    "numpy", "scipy", "pandas", "pyarrow", "hydra-core", "omegaconf", "wandb",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """The `environment` of run.json. Cores are those this process may use; memory is the machine's, in GiB."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": processes.cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _gpu(),
        "libraries": _versions(),
        "git_commit": _git_commit(),
    }


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB (10^6 bytes); GPU memory is not in it."""
    try:  # Linux's getrusage also counts what was resident when a parent forked, before this program was loaded
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(peak.split()[1]) * 1024 / 1e6, 1)
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _gpu() -> dict[str, Any] | None:
    import torch  # here, because analysis reads records without torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the core runs without some of them
    return versions


def _git_commit() -> str | None:
    """The checkout's commit, with `-dirty` after it where files differ from it.

    A copy without git's folder has what whoever copied it says (`CALM_BENCH_COMMIT`), an installed package none.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # one further up would belong to somebody else's project
        return os.environ.get("CALM_BENCH_COMMIT") or None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
