"""The runs that belong together although each may be made by another process: a multirun's jobs, a W&B sweep's trials.

Each leaves the path of its record in a folder that all of them see, for whoever says in the end what they say together.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from calm_bench.errors import InputError


class Multirun(Callback):
    """Hydra's callback (conf/config.yaml): in the process that waits for a multirun's jobs it knows their folder."""

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        Multirun.folder = Path(config.hydra.sweep.dir)


def sweep_folder(runs_dir: str) -> Path | None:
    """Where the trials of a W&B sweep's agents meet; None where no agent has started this run."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    return Path(runs_dir) / "multirun" / f"sweep-{sweep}" if sweep and sweep.isalnum() else None


def leave(folder: Path, record: Path, number: int | str) -> None:
    """Say that the run called `number` among them has its record there; where that fails, the run is none the worse."""
    from calm_bench.records.atomic import make_folder, replacing  # which needs what takes seconds to import

    with suppress(InputError):
        make_folder(folder)
        with replacing(folder / f"{number}.run") as file:
            file.write(f"{record}\n".encode())


def left(folder: Path) -> list[Path]:
    """The records of those that have ended so far, in the order of their numbers."""
    files = sorted(folder.glob("*.run"), key=lambda file: (len(file.stem), file.stem))
    return [Path(file.read_text(encoding="utf-8").rstrip("\n")) for file in files]
