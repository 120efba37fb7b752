"""The command line: Hydra composes, the experiment runs, a person reads."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from calm_bench import compose, console, hub, multirun, processes, progress, signals
from calm_bench.build import cause, require
from calm_bench.config import Config
from calm_bench.errors import InputError, JobFailed
from calm_bench.refusal import one_line, refuse_words

if TYPE_CHECKING:
    from calm_bench.records.store import Run
    from calm_bench.records.tracker import Tracker

log = logging.getLogger("calm_bench")


def main() -> None:
    """Compose a configuration from the command line and run it.

    Exit status: 0, 1 if a job of a multirun failed, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    signals.take()
    console.prepare()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it refuses, instead of printing it
    # Hydra's parser takes `-m` before or after all options, people also write it between them.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    conf = compose.config_dir()
    compose.register()
    command = hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(_job)
    try:
        processes.check()
        refuse_words(sys.argv[1:], Config, conf)
        _parse()
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra announces jobs that fail; ours say it themselves
            command()
        _end_multirun()
    except InputError as error:
        _fail(str(error), 2)
    except JobFailed:
        _end_multirun()
        _fail("a job of this multirun failed, as said above; the others are complete", 1)
    except signals.Terminated:
        _fail("terminated; the same command goes on from where it was", 143)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from where it was", 130)
    except BrokenPipeError:  # what `--help | head` leaves
        console.silence()
    except Exception as error:  # Hydra's, and those of the launchers that it starts
        _fail(one_line(error, Config, conf), 2)


def _parse() -> None:
    """Refuse what Hydra's own parser would answer with its usage. Raises InputError."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args()


def _job(composed: DictConfig) -> None:
    compose.register()  # a launcher runs jobs in processes that have not been through main()
    with contextlib.redirect_stderr(sys.__stderr__), signals.in_a_job():
        console.prepare()
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        logging.getLogger("hydra").setLevel(logging.WARNING)  # its launcher names each job but the first
        failure = None  # in words: an exception that Hydra kept would keep the job's model until the last job ends
        try:
            config = compose.resolve(composed)
            config.require_folders()
            if not processes.is_first():
                _assist(config)
                return
            record = _run(config)
        except InputError as error:
            failure = str(error), 2
        except FloatingPointError as error:  # NaN in states or confidences
            failure = str(error), 1
        except Exception:  # a fault of ours: all of it, where Hydra would cut it short
            failure = traceback.format_exc().rstrip(), 1
        if failure:
            _end_job(*failure)
        hydra_config = HydraConfig.get()
        if hydra_config.mode is RunMode.MULTIRUN:
            multirun.leave(Path(hydra_config.sweep.dir), record.path, hydra_config.job.num)
        elif (sweep := multirun.sweep_folder(config.runs_dir)) is not None:
            multirun.leave(sweep, record.path, record.run_id)
            _end_together(sweep)
        console.say(f"run: {record.path}")


def _end_multirun() -> None:
    """After the jobs of a multirun: what they say together."""
    if multirun.Multirun.folder is not None:
        _end_together(multirun.Multirun.folder)


def _end_together(folder: Path) -> None:
    """The answer or the ranking of the runs that have left their records there; why there is none, where that fails."""
    from analysis.ending import ending

    try:
        lines = ending(multirun.left(folder))
    except Exception as error:  # the records are complete all the same
        lines = [f"no ranking: {cause(error)}"]
    if lines:
        console.say("\n".join(lines))


def _end_job(reason: str, status: int) -> NoReturn:
    if HydraConfig.get().mode is RunMode.MULTIRUN and processes.count() == 1:
        console.complain(f"calm-bench: {' '.join(HydraConfig.get().overrides.task)}: {reason}")
        raise JobFailed
    _fail(reason, status)


def _run(config: Config) -> Run:
    log.info("%s", _begun(config))  # before anything is imported that takes seconds
    with progress.waiting("looking for a finished record", after=0.0):  # large files of data are read for it
        from calm_bench import drawing
        from calm_bench.earlier import finished

        earlier = finished(config)
    if earlier:
        log.info("finished before, %s; force=true runs it again", earlier.info["finished_at"])
    tracker = _tracker(config)
    record = earlier if earlier and processes.count() == 1 else _made(config, tracker)
    if lines := _answer(config, record):
        console.say("\n".join(lines))  # the result first: what follows may fail, and costs nothing
    try:
        if config.figures:
            tracker.tell({"stage": "figures"})
            drawing.draw(record)
    finally:  # also where it is interrupted
        tracker.end(record)
    return record


def _begun(config: Config) -> str:
    """What begins, in a line."""
    texts = f"{config.limit} texts at most" if config.limit else "all texts"
    what = f"{config.name}: {texts} of {config.task.name} ({config.task.split}), model {config.model.name}"
    hydra_config = HydraConfig.get()
    several = hydra_config.mode is RunMode.MULTIRUN
    which = f"; run {hydra_config.job.num + 1}: {' '.join(hydra_config.overrides.task)}" if several else ""
    return f"{what}, {', '.join(config.measure)}{which}"


def _made(config: Config, tracker: Tracker) -> Run:
    """The record, once what a run needs before its first stage has been imported and found."""
    tracker.expect()
    _prepare(config)
    from calm_bench import lifecycle

    return lifecycle.run(config, _command(), tracker)


def _prepare(config: Config) -> None:
    """Import what takes seconds, and ask the hub whether it answers; what cannot be is refused before."""
    from calm_bench.records.atomic import require_writable

    require_writable(Path(config.runs_dir))
    with progress.waiting("starting", after=0.0):
        require(asdict(config.task))  # its classes need no torch, which takes seconds to import
        hub.require(config.from_hub)
        _quiet_libraries()
        from calm_bench import lifecycle  # noqa: F401


def _answer(config: Config, record: Run) -> list[str]:
    """What the experiment asks, answered: by promises, or by what an ablation has found beside the paper.

    Of an ablation's runs in a multirun each says its part, if it has one; the end has them all in one table.
    """
    from calm_bench import summary

    if config.answer == "promises":
        return summary.lines(record)
    try:
        from analysis import answers, load

        records = load([record.path], quiet=True)
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            return answers.lines(records, config.answer)
        parts = [one for one in answers.answered(records, config.answer) if one.answer]
        return [line for one in parts for line in answers.sentences(one)]
    except Exception as error:  # the record is complete all the same
        log.warning("no answer of %s: %s", config.answer, cause(error))
        return summary.lines(record)


def _assist(config: Config) -> None:
    """What a process beside the first one does, without a word."""
    _prepare(config)
    from calm_bench import lifecycle

    lifecycle.assist(config)


def _command() -> str:
    """What a person types to make this very run again, whether it was one job of several or not."""
    return shlex.join(["python", "-m", "calm_bench", *HydraConfig.get().overrides.task])


def _tracker(config: Config) -> Tracker:
    """Where people watch the run."""
    from calm_bench.records.weights_and_biases import WeightsAndBiases

    wandb_id = os.environ.get("WANDB_RUN_ID")
    if wandb_id and HydraConfig.get().mode is RunMode.MULTIRUN:
        log.warning("W&B: WANDB_RUN_ID=%s is left aside: the jobs of a multirun have an id each", wandb_id)
        wandb_id = None
    return WeightsAndBiases(group=config.name, wandb_id=wandb_id, **vars(config.tracking))


def _quiet_libraries() -> None:
    """No hints of other libraries between our own lines, and no bars but those of downloads on a terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # the hub's, too
    if sys.stderr.isatty():
        enable_progress_bars()  # a download shows how far along it is
    for noisy in ("httpx", "filelock", "absl", "datasets", "evaluate", "huggingface_hub", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _fail(line: str, status: int) -> NoReturn:
    who = "calm-bench" if processes.is_first() else f"calm-bench, process {processes.rank()}"
    console.complain(f"{who}: {line}")
    sys.exit(status)
