"""What W&B has of a record: `RUN/wandb/mirror.json`. It is not in run.json, which W&B gets a copy of."""

import glob
import hashlib
import json
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from calm_bench.errors import InputError
from calm_bench.records.account import WANDB
from calm_bench.records.atomic import make_folder, replacing
from calm_bench.records.inside import inside
from calm_bench.records.store import RUN_FILE, Run

FILE = "mirror.json"
_ID = r"[^\0-\x1f/\\#?%:]{1,128}"  # what W&B takes
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Mirrored:
    """The record's W&B id, the same for all its copies, and its latest copy.

    Attributes:
        folder: that copy, as W&B keeps it offline, relative to the run's folder; None where there is none yet.
        staging: the folder with the tables that `wandb sync` needs beside it, relative to the run's folder.
        state: what the record was when the copy was made (`state_of`); None for a copy that was not completed.
    """

    id: str
    folder: str | None = None
    staging: str | None = None
    state: str | None = None

    @classmethod
    def of(cls, run: Run) -> Self:
        """As kept in the run's folder, else a new id and no copy."""
        try:
            kept = cls(**json.loads((run.home / WANDB / FILE).read_text(encoding="utf-8")))
            if re.fullmatch(_ID, kept.id):
                return kept
        except (OSError, ValueError, TypeError, RecursionError):  # not mirrored yet, or not to be read
            pass
        return cls("".join(secrets.choice(_LETTERS) for _ in range(8)))

    def keep(self, run: Run) -> None:
        """Write it into the run's folder; InputError where that cannot be written."""
        make_folder(run.home / WANDB)
        with replacing(run.home / WANDB / FILE) as file:
            file.write(f"{json.dumps(asdict(self), indent=2)}\n".encode())

    def copied_to(self, run: Run, folder: Path, staging: Path) -> Self:
        """The same with a copy that has been begun in `folder`."""
        places = (os.path.relpath(place, run.home) for place in (folder, staging))
        return replace(self, **dict(zip(("folder", "staging"), places, strict=True)), state=None)

    def copy(self, run: Run) -> Path | None:
        """The latest copy, if it was completed and is still there, wherever WANDB_DIR has put it."""
        if self.state is None or self.folder is None:
            return None
        folder = (run.home / self.folder).resolve()
        return folder if (folder / f"run-{self.id}.wandb").is_file() else None

    def forget_others(self, run: Run) -> None:
        """Remove the other copies of this id from the disk, torn and live ones too: this one has all that they have.

        Only what W&B has made is removed, and only in the run's folder and where WANDB_DIR says.
        """
        kept = {(run.home / place).resolve() for place in (self.folder, self.staging) if place}
        name = glob.escape(self.id)
        folders = [run.home / WANDB, *(Path(folder) / WANDB for folder in [os.environ.get("WANDB_DIR")] if folder)]
        for folder in folders:
            numbered = [file.parent for file in folder.glob(f"*run-*-{name}-[0-9]/run-{name}.wandb")]  # of one second
            for place in [*folder.glob(f"*run-*-{name}"), *numbered, *folder.glob(f"staging-{name}-*")]:
                if place.resolve() not in kept:
                    shutil.rmtree(place, ignore_errors=True)  # which leaves a link alone

    def forget_staging(self, run: Run) -> None:
        """Remove what only `wandb sync` needed."""
        if self.staging is not None:
            with suppress(InputError):  # not ours
                shutil.rmtree(inside(run.home / WANDB, run.home / self.staging), ignore_errors=True)


def figures_of(run: Run) -> list[Path]:
    """The pictures in the run's folder."""
    return sorted((run.path / "figures").glob("*.png"))


def named_figures(run: Run) -> dict[str, Path]:
    """The pictures by what they show, which does not depend on the run: its name and options are left out."""
    stems = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # drawn by hand, or by another release
        index = json.loads((run.path / "figures" / "index.json").read_text(encoding="utf-8"))
        stems = {file: entry["stem"] for entry in index["made"] for file in entry["files"]}
    found: dict[str, Path] = {}
    for file in figures_of(run):
        name = stems.get(file.name) or file.stem
        found[file.stem if name in found else name] = file
    return found


def state_of(run: Run) -> str:
    """A word that changes whenever run.json, a table or a picture of the record does."""
    sizes = [(file.name, file.stat().st_size) for file in _files(run)]
    return hashlib.sha256((run.path / RUN_FILE).read_bytes() + json.dumps(sizes).encode()).hexdigest()[:16]


def size_of(run: Run) -> int:
    """Bytes of the record's tables and pictures."""
    return sum(file.stat().st_size for file in _files(run))


def _files(run: Run) -> list[Path]:
    return [file for name in run.tables for file in run.files(name)] + figures_of(run)
