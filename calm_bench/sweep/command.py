"""`python -m calm_bench.sweep FILE`: a W&B sweep file on this machine, without a server."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from tqdm import tqdm

from calm_bench import console
from calm_bench.arguments import Arguments
from calm_bench.errors import InputError
from calm_bench.records.scalars import scalars
from calm_bench.records.store import Run
from calm_bench.sweep import file as sweep_file
from calm_bench.sweep import trials
from calm_bench.sweep.file import Sweep
from calm_bench.sweep.trials import Values

HELP = """\
examples:
  python -m calm_bench.sweep sweeps/demo.yaml                    every trial of the file, one after another
  python -m calm_bench.sweep sweeps/demo.yaml --dry-run          the command lines, without running them
  python -m calm_bench.sweep sweeps/demo.yaml --jobs 2 --count 4
  python -m calm_bench.sweep sweeps/demo.yaml limit=50 runs_dir=/tmp/runs     options that every trial gets

The file is the one that `wandb sweep FILE` takes, and each trial is the command that `wandb agent` would start for it.
  grid     every combination of the values
  random   independent draws, the same for the same --seed; they end at --count or the file's run_cap
  bayes    proposals of W&B's `sweeps` package, if it is installed; they end in the same way

A sweep that was interrupted goes on when the same command is given again: a trial that has a finished record says so
and takes seconds, one that was cut short goes on from its last chunk. A trial that fails is named and the others still
run. The end is a ranking of the runs, by the file's metric or else by layers at the certified promises, and the command
that draws them together. In W&B the trials share a group, the sweep's name (WANDB_RUN_GROUP, if set, wins).

Exit status: 0, 1 if a trial failed, 2 for a file or an option that is not allowed, 130 after Ctrl-C, 143 after SIGTERM.
"""
POLL_SECONDS = 0.1
STOP_SECONDS = 60.0


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, with another exit status."""


@dataclass
class Trial:
    """A trial that runs, and where its standard output and (unless it goes to ours) its errors are kept."""

    number: int
    values: Values
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes] | None
    begun: float

    @property
    def name(self) -> str:
        return f"trial {self.number}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        options = _options(arguments)
        sweep = sweep_file.read(options.file)
        failed = _run(sweep, options) if not options.dry_run else _show(sweep, options)
    except InputError as error:
        _say(f"calm-bench: {error}")
        sys.exit(2)
    except Terminated:
        _say("calm-bench: terminated; the same command goes on from where it was")
        sys.exit(143)
    except KeyboardInterrupt:
        _say("calm-bench: interrupted; the same command goes on from where it was")
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The words of the command. Raises InputError."""
    options = _parser().parse_intermixed_args(arguments)
    if options.file is None:
        raise InputError("no file given: python -m calm_bench.sweep sweeps/demo.yaml; see --help")
    if wrong := [word for word in options.overrides if "=" not in word]:
        raise InputError(f"{wrong[0]}: not an option; every trial's options are given as KEY=VALUE")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog="python -m calm_bench.sweep",
        description="Run a W&B sweep file on this machine, without a server or an account.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a sweep file, such as sweeps/demo.yaml")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options added to every trial's command")
    parser.add_argument("--count", metavar="N", type=_positive, help="at most this many trials (default: all)")
    parser.add_argument("--jobs", metavar="N", type=_positive, default=1, help="trials at a time (default: 1)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of random and bayes (default: 0)")
    parser.add_argument(
        "--any-command", action="store_true", help="run the file's command although it does not start calm_bench"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command lines and run nothing")
    return parser


def _limit(sweep: Sweep, count: int | None) -> float:
    """How many trials there will be at most."""
    limit = min(count or math.inf, sweep.run_cap or math.inf)
    if sweep.method == "grid":
        return min(limit, sum(1 for _ in trials.grid(sweep)))
    if limit == math.inf:
        raise InputError(f"--count: method {sweep.method} has no end of its own; give --count N or run_cap in the file")
    return limit


def _show(sweep: Sweep, options: argparse.Namespace) -> int:
    """Print the command lines; the first only for bayes, where later ones depend on results."""
    following = trials.propose(sweep, options.seed)
    limit = _limit(sweep, options.count)
    for _ in range(1 if sweep.method == "bayes" else int(limit)):
        print(shlex.join([*trials.argv(sweep, following([]) or {}), *options.overrides]))
    if sweep.method == "bayes":
        _say(f"the other {int(limit) - 1} depend on the results of those before them")
    return 0


def _run(sweep: Sweep, options: argparse.Namespace) -> int:
    """Run the trials, `options.jobs` at a time; returns how many failed."""
    following, limit = trials.propose(sweep, options.seed), _limit(sweep, options.count)
    results: list[tuple[Values, float | None]] = []
    records: list[Path] = []
    running: list[Trial] = []
    started = failed = 0
    begun = time.monotonic()
    try:
        while True:
            while len(running) < options.jobs and started < limit and (values := following(results)) is not None:
                started += 1
                words = [*trials.argv(sweep, values), *options.overrides]
                if not (options.any_command or trials.starts_calm_bench(words)):
                    raise InputError(f"command: it starts {words[:3]}, not calm_bench; --any-command lets it")
                running.append(_start(sweep, started, values, words, alone=options.jobs == 1))
                _say(f"[{started}/{int(limit)}] {_words(values)}{_left(begun, len(results), limit)}")
            if not running:
                break
            time.sleep(POLL_SECONDS)
            for trial in [trial for trial in running if trial.process.poll() is not None]:
                running.remove(trial)
                failed += trial.process.returncode != 0
                record = _close(trial)
                records += [record.path] if record else []
                results.append((trial.values, _metric(sweep, record)))
    finally:
        _stop(running)
    from analysis.ending import ending  # here: a dry run needs none of what it imports

    _say(f"{len(results)} trials, {failed} failed")
    if lines := ending(records, sweep.metric, maximize=sweep.maximizes):
        console.say("\n".join(lines))
    return failed


def _left(begun: float, done: int, limit: float) -> str:
    """How long the sweep still takes, by the trials that have ended."""
    if not done:
        return ""
    seconds = (time.monotonic() - begun) * (limit - done) / done
    return f" ({tqdm.format_interval(seconds)} left)"


def _start(sweep: Sweep, number: int, values: Values, words: Sequence[str], alone: bool) -> Trial:
    """Start a trial in a process group of its own, so that Ctrl-C reaches it once, through us."""
    environment = dict(os.environ)
    environment.setdefault("WANDB_RUN_GROUP", sweep.name)
    # `python` in the command is to be this one, also where its environment was not activated.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    out, err = tempfile.TemporaryFile(), None if alone else tempfile.TemporaryFile()  # noqa: SIM115 (read in _close)
    try:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=err, process_group=0)
    except OSError as error:
        raise InputError(f"command: cannot start {words[0]}: {error.strerror}") from error
    return Trial(number, values, process, out, err, time.monotonic())


def _close(trial: Trial) -> Run | None:
    """Report how a trial ended; its record, or None if it failed or names none."""
    trial.out.seek(0)
    lines = trial.out.read().decode(errors="replace").splitlines()
    seconds = f"{time.monotonic() - trial.begun:.0f} s"
    if trial.process.returncode == 0:
        folder = lines[-1].removeprefix("run: ") if lines and lines[-1].startswith("run: ") else None
        _say(f"{trial.name} done in {seconds}{f': {folder}' if folder else ''}")
        return Run.open(folder) if folder else None
    reason = ""
    if trial.err is not None:
        trial.err.seek(0)
        reason = "; ".join(trial.err.read().decode(errors="replace").strip().splitlines()[-1:])
    _say(f"{trial.name} FAILED in {seconds} with status {trial.process.returncode} {reason}".rstrip())
    return None


def _metric(sweep: Sweep, run: Run | None) -> float | None:
    """The metric that the file names, read from a trial's record; None where it has none, which is said."""
    if run is None or sweep.metric is None:
        return None
    found = scalars(run)
    if sweep.metric not in found:
        _say(f"metric.name={sweep.metric}: {run.path} has no such value; it has {', '.join(found)}")
    return found.get(sweep.metric)


def _stop(running: Sequence[Trial]) -> None:
    """End what still runs, giving each trial time to close its record."""
    for trial in running:
        trial.process.terminate()  # a shell's background job ignores SIGINT, and so do its children
    deadline = time.monotonic() + STOP_SECONDS
    for trial in running:
        try:
            trial.process.wait(timeout=max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            trial.process.kill()
            _say(f"{trial.name} did not end within {STOP_SECONDS:.0f} s and was killed")


def _words(values: Values) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
