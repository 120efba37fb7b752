"""The command line: Hydra composes, the experiment runs, a person reads. Also the console script `calm-bench`."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from calm_bench import config as configuration
from calm_bench.errors import InputError
from calm_bench.refusal import one_line

if TYPE_CHECKING:
    from calm_bench.config import Config
    from calm_bench.records.store import Run

log = logging.getLogger("calm_bench")


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, with another exit status."""


def main() -> None:
    """Compose a configuration from the command line and run it.

    Exit status: 0, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    signal.signal(signal.SIGTERM, _terminate)
    configuration.register()
    command = hydra.main(version_base="1.3", config_path=str(configuration.config_dir()), config_name="config")(_job)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):  # Hydra's own reports take many lines; ours is written by _job
            command()
    except InputError as error:
        _fail(str(error), 2)
    except Terminated:
        _fail("terminated; the record says interrupted, and the same command goes on from it", 143)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from where it was", 130)
    except SystemExit as status:
        if status.code and refusal.getvalue():
            _fail(one_line(refusal.getvalue(), configuration.Config, configuration.config_dir()), 2)
        raise


def _job(composed: DictConfig) -> None:
    with contextlib.redirect_stderr(sys.__stderr__):
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        _quiet_libraries()
        try:
            config = configuration.resolve(composed)
            record = _run(config)
        except InputError as error:
            _fail(str(error), 2)
        except FloatingPointError as error:  # NaN in states or confidences
            _fail(str(error), 1)
        except Exception:  # a fault of ours: all of it, where Hydra would cut it short
            traceback.print_exc()
            sys.exit(1)
        print(f"run: {record.path}")


def _run(config: Config) -> Run:
    from calm_bench import experiment, summary
    from calm_bench.records.mirror import mirror

    earlier = experiment.finished(config)
    record = earlier or experiment.run(config)
    pictures, report = _draw(record)
    if earlier:
        log.info("finished before, %s; force=true runs it again", earlier.info["finished_at"])
    else:
        mirror(record, pictures, group=config.name, **vars(config.tracking))
    print("\n".join(summary.lines(record)))
    print()
    print(f"frontier: {next(path for name, path in pictures.items() if name.startswith('frontier'))}")
    print(f"report: {report}")
    return record


def _draw(record: Run) -> tuple[dict[str, Path], Path]:
    """Every figure and table that the record allows, in its folder: pictures by name, and the page to open.

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
    return {item.name: folder / item.files[0] for item in made if item.files[0].endswith(".png")}, folder / "index.html"


def _quiet_libraries() -> None:
    """No progress bars and hints of other libraries between our own lines."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for noisy in ("httpx", "filelock", "absl", "datasets", "evaluate", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _fail(line: str, status: int) -> None:
    print(f"calm-bench: {line}", file=sys.__stderr__)
    sys.exit(status)


if __name__ == "__main__":
    main()
