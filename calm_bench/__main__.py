"""The command line: Hydra composes, the experiment runs, a person reads. Also the console script `calm-bench`."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import shutil
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from calm_bench import compose, config, processes, signals
from calm_bench.errors import InputError
from calm_bench.refusal import one_line

if TYPE_CHECKING:
    from calm_bench.config import Config
    from calm_bench.records.store import Run

log = logging.getLogger("calm_bench")


class JobFailed(Exception):
    """A job of a multirun has failed and said why. A lone job exits; here the other jobs are still to run."""


def main() -> None:
    """Compose a configuration from the command line and run it.

    Exit status: 0, 1 if a job of a multirun failed, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    signals.take()
    # Hydra's parser takes `-m` before or after all options, people also write it between them.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    compose.register()
    command = hydra.main(version_base="1.3", config_path=str(compose.config_dir()), config_name="config")(_job)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):  # Hydra's own reports take many lines; ours is written by _job
            command()
    except InputError as error:
        _fail(str(error), 2)
    except signals.Terminated:
        _fail("terminated; the same command goes on from where it was", 143)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from where it was", 130)
    except JobFailed:
        _fail("a job of this multirun failed, as said above; the others are complete", 1)
    except SystemExit as status:
        if JobFailed.__name__ in refusal.getvalue():
            _fail("a job of this multirun failed, as said above; the others are complete", 1)
        if status.code and refusal.getvalue():
            _fail(one_line(refusal.getvalue(), config.Config, compose.config_dir()), 2)
        raise


def _job(composed: DictConfig) -> None:
    compose.register()  # a launcher runs jobs in processes that have not been through main()
    with contextlib.redirect_stderr(sys.__stderr__), signals.in_a_job():
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        _quiet_libraries()
        try:
            settings = compose.resolve(composed)
            if not processes.is_first():
                _assist(settings)
                return
            record = _run(settings)
        except InputError as error:
            _end_job(str(error), 2)
        except FloatingPointError as error:  # NaN in states or confidences
            _end_job(str(error), 1)
        except Exception:  # a fault of ours: all of it, where Hydra would cut it short
            _end_job(traceback.format_exc().rstrip(), 1)
        print(f"run: {record.path}")


def _end_job(reason: str, status: int) -> NoReturn:
    if HydraConfig.get().mode is RunMode.MULTIRUN and processes.count() == 1:
        print(f"calm-bench: {' '.join(HydraConfig.get().overrides.task)}: {reason}", file=sys.__stderr__)
        raise JobFailed
    _fail(reason, status)


def _run(config: Config) -> Run:
    from calm_bench import lifecycle, summary

    earlier = lifecycle.finished(config)
    record = lifecycle.run(config, _command(), ended_early=lambda record: _mirror(config, record))
    if earlier:
        log.info("finished before, %s; force=true runs it again", earlier.info["finished_at"])
    try:
        places = _draw(record) if config.figures else []
    finally:  # the record is finished, whatever becomes of its pictures
        _mirror(config, record)
    print("\n".join([*summary.lines(record), "", *places]))
    return record


def _assist(config: Config) -> None:
    """What a process beside the first one does, without a word."""
    from calm_bench import lifecycle

    lifecycle.assist(config)


def _command() -> str:
    """What a person types to make this very run again, whether it was one job of several or not."""
    return shlex.join(["python", "-m", "calm_bench", *HydraConfig.get().overrides.task])


def _mirror(config: Config, record: Run) -> None:
    from calm_bench.records.mirror import mirror

    wandb_id = os.environ.get("WANDB_RUN_ID")
    if wandb_id and HydraConfig.get().mode is RunMode.MULTIRUN:
        log.warning("W&B: WANDB_RUN_ID=%s is left aside: the jobs of a multirun have an id each", wandb_id)
        wandb_id = None
    mirror(record, group=config.name, wandb_id=wandb_id, **vars(config.tracking))


def _draw(record: Run) -> list[str]:
    """Every figure and table that the record allows, in its folder; the lines that say where to look.

    Raises InputError where they cannot be written; then there are none, and the record is complete all the same.
    """
    import analysis
    from calm_bench.records.atomic import unwritable

    folder = record.path / "figures"
    try:
        made, _missing = analysis.draw(analysis.load([record.path], quiet=True), folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise unwritable(folder, error) from error
    frontiers = [folder / item.files[0] for item in made if item.name.startswith("frontier")]
    return [*(f"frontier: {picture}" for picture in frontiers[:1]), f"report: {folder / 'index.html'}"]


def _quiet_libraries() -> None:
    """No progress bars and hints of other libraries between our own lines."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for noisy in ("httpx", "filelock", "absl", "datasets", "evaluate", "huggingface_hub", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _fail(line: str, status: int) -> NoReturn:
    who = "calm-bench" if processes.is_first() else f"calm-bench, process {processes.rank()}"
    print(f"{who}: {line}", file=sys.__stderr__)
    sys.exit(status)


if __name__ == "__main__":
    main()
