"""The command line: every table, figure and the report that the records allow."""

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from analysis import answers
from analysis.in_parallel import cores
from analysis.index import draw
from analysis.listing import listing
from analysis.load import load
from analysis.output import Output
from calm_bench import console
from calm_bench.arguments import Arguments
from calm_bench.build import cause
from calm_bench.errors import InputError

EXAMPLES = """\
examples:
  python -m analysis runs/                              every finished run in runs/, into figures/
  python -m analysis runs/20260101-120000-demo --out /tmp/demo
  python -m analysis runs/A runs/B --out both           seeds of one config share a figure, others get their own
  python -m analysis runs/ --list                       one line a run: state, task, measures, certified layers
  python -m analysis --wandb ENTITY/PROJECT             the finished runs of a W&B project
  python -m analysis wandb/offline-run-*/               runs that W&B kept offline

what comes out:
  index.html      the report: the answer to each question; what was gained, promised and held at any tolerance; groups
                  side by side; every figure; each token coloured by its exit layer
  index.md/.json  what was made from which run, and what the runs lack
  *.png, *.svg, *.csv   one figure each, at column width, and the numbers that it shows
  *.csv, *.md, *.tex    one table each; rows marked "published" are the paper's

Runs that differ in seeds alone are one group: its figures show means and intervals over seeds, and what belongs to one
run (texts, splits at other tolerances) is of the first; `python -m analysis RUN --out RUN/figures` draws another, and
the page links to it. What did not change since the last call is not drawn again.
Each group has figures of its own, but the runs of decay, state_copying, classifier_training and perturbation
answer one question each, side by side in one figure or table.

Only records are read: no model, no GPU, no network (but for --wandb). Unfinished runs are left out, and said.
In a notebook:  import analysis; records = analysis.load("runs/"); analysis.frontier(records.of(GROUP).frontier)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, or 2 after one line on standard error, or 130 after Ctrl-C."""
    console.prepare()
    parser = Arguments(
        prog="python -m analysis",
        description="Draw every table, figure and the report that the records of finished runs allow.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUNS", nargs="*", type=Path, help="a run folder, or a folder that holds some")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read the runs of a W&B project")
    parser.add_argument("--list", action="store_true", help="list the runs in RUNS, finished or not, and draw nothing")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("figures"), help="where to write (default: figures)"
    )
    parser.add_argument(
        "--add",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module of yours with OUTPUTS, figures and tables",
    )
    begun = time.monotonic()
    try:
        options = parser.parse_args(arguments)
        if not options.runs and (options.list or not options.wandb):
            parser.error("no runs given: python -m analysis runs/ --out figures")
        if options.list and options.wandb:
            parser.error("--list reads what is on this disk; W&B shows the runs of a project on its own page")
        if options.list:
            console.say("\n".join(listing(options.runs)))
            return 0
        more = [output for module in options.add for output in _outputs(module)]
        records = load(options.runs, wandb=options.wandb)
        made, missing = draw(records, options.out, more, cores())
    except InputError as error:
        console.complain(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        console.complain("interrupted; the same command draws it all")
        return 130
    except OSError as error:
        console.complain(f"error: --out {options.out}: cannot be written ({error.strerror or error})")
        return 2
    if said := answers.lines(records):
        console.say("\n".join([*said, ""]))
    for line in missing:
        console.say(f"missing: {line}")
    runs = len(records.runs)
    console.say(
        f"{len(made)} figures and tables from {runs} run{'s' * (runs != 1)} in {time.monotonic() - begun:.1f} s"
    )
    console.say(f"report: {options.out / 'index.html'}")
    return 0


def _outputs(module: str) -> Sequence[Output]:
    """The OUTPUTS of a module of the user's. Raises InputError where it has none, or fails."""
    try:
        outputs: Sequence[Output] = import_module(module).OUTPUTS
    except Exception as error:
        raise InputError(f"--add {module}: {cause(error)}") from error
    return outputs
