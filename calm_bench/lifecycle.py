"""What surrounds an experiment: its record begun, kept to one process, and closed however the run ends.

Where several processes make one run, the first one leads: it calls `run`, the others `assist`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import torch

from calm_bench import processes
from calm_bench.config import Config
from calm_bench.earlier import finished
from calm_bench.errors import InputError
from calm_bench.following import Stages, followed, tell
from calm_bench.memory import enough_memory
from calm_bench.progress import waiting
from calm_bench.records.stage_cache import StageCache, locked
from calm_bench.records.store import Run
from calm_bench.records.tracker import Tracker, Untracked
from calm_bench.stages.data import data
from calm_bench.stages.identity import run_id


def run(config: Config, command: str | None = None, tracker: Tracker | None = None) -> Run:
    """Run an experiment and return its finished record, which names the `command` that started it.

    The same configuration has the same record: a finished one is returned as it is (unless `force`), an interrupted one
    goes on from the last chunk that it decoded. `tracker` is told of the run as it goes, and of its end where that is
    early; a finished one is the caller's to end. Raises InputError for what cannot run; then no record is left.
    """
    tracker = tracker or Untracked()
    device = choose_device(config.device)
    processes.join(device)
    earlier = finished(config)
    if not processes.agree(earlier is None) and earlier is not None:
        return earlier
    task, examples = data(config)  # what cannot be read leaves nothing behind
    folder = Path(config.runs_dir) / run_id(config)
    with locked(folder):
        earlier = finished(config)
        if not processes.agree(earlier is None) and earlier is not None:
            return earlier  # another command was quicker
        record = Run.begin(folder, asdict(config), name=config.name, seed=config.seed, command=command)
        try:
            tracker.begin(record)
            with followed(tracker.tell), _enough_memory(device):
                tell({"stage": "start"})
                with waiting("starting", after=0.0):
                    from calm_bench import experiment  # takes seconds; the run is seen to have begun by now
                experiment.perform(config, record, device, task, examples)
        except InputError:
            tracker.forget(record)
            record.discard()
            raise
        except BaseException as error:
            record.mark("interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed")
            tracker.end(record)
            raise
    return record


def assist(config: Config) -> None:
    """Train, decode and score with the first process, in step with its `run`; the rest of a run it does alone."""
    device = choose_device(config.device)
    processes.join(device)
    if processes.agree(False):
        task, examples = data(config)
        if processes.agree(False):
            from calm_bench import experiment

            with _enough_memory(device):
                experiment.texts(config, StageCache(config.runs_dir), device, task, examples, Stages())


def _enough_memory(device: str) -> AbstractContextManager[None]:
    """Wherever a stage does not say it better."""
    return enough_memory(f"device={device}: the run is", "take a smaller batch_size or model, or another device")


def choose_device(wanted: str) -> str:
    """cpu or cuda. Raises InputError where cuda is asked for and there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: no CUDA device here; use device=cpu or device=auto")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
