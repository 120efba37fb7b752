"""New promises from a finished run's records, without a model: the command `python -m calm_bench.certify`.

The losses of every example under every rule are in the record: another tolerance, probability or method is arithmetic.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calm_bench import console, drawing, progress, summary
from calm_bench.arguments import Arguments
from calm_bench.build import build
from calm_bench.calibration import METHODS, Promise
from calm_bench.config import CalibrationConfig
from calm_bench.errors import InputError
from calm_bench.records import losses
from calm_bench.records.stage_cache import locked
from calm_bench.records.store import Run
from calm_bench.refusal import not_taken, unknown_option
from calm_bench.stages.promise import certificates, make_promises, method_of
from calm_bench.stages.score import Statistics, statistics

if TYPE_CHECKING:
    from calm_bench.metrics.metric import Metric

PROMISE = ["objective", "delta", "epsilon", "measure", "method", "unit", "together"]
FIXED = ("fraction", "seed", "bootstrap_seed")
HELP = """\
  python -m calm_bench.certify runs/demo-1a2b3c4d5e calibration.risk=[0.03]
  python -m calm_bench.certify runs/*/ calibration.textual=[0.15,0.2] calibration.risk=[] calibration.epsilon=0.1
  python -m calm_bench.certify runs/demo-1a2b3c4d5e calibration.method=naive

What is not given is what the run was given. Options:
  calibration.textual=[...]   tolerances delta of textual consistency, each in (0, 1); [] for none
  calibration.risk=[...]      tolerances delta of risk consistency, each in (0, 1); [] for none
  calibration.epsilon=X       probability with which a promise may fail, in (0, 1)
  calibration.method=NAME     {methods}; or
                              calibration.method={{_target_: module.Class}} with --allow module
  calibration.trials=N        random splits that check each promise; 0 for none
  calibration.unit=UNIT       example, or cluster: a promise about later clusters, such as articles
  calibration.joint=true      all promises asked for hold at once with probability 1 - epsilon

calibration.fraction and the seeds stay the run's own: all its promises are checked on the same splits.
Choosing a tolerance after having seen its result is not covered by a promise: decide first, then certify.

New rows get a file of their own beside RUN/certificates.parquet, which RUN/run.json names together with the new
sentences; a row that is there (same objective, delta, epsilon, measure, method and trial) stays as it is.
Where the run has figures and a report of its own (RUN/figures), they are drawn anew.
W&B gets the record anew, under the id that it had there, if the run itself went to W&B.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    console.prepare()
    parser = Arguments(
        prog="python -m calm_bench.certify",
        usage="%(prog)s RUN [RUN ...] [calibration.KEY=VALUE ...]",
        description="New promises from a finished run's records, without a model.",
        epilog=HELP.format(methods=", ".join(METHODS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("given", nargs="*", metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own whose classes the record may name: its code will run",
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        given = parser.parse_args(arguments)
        options = [text for text in given.given if _is_option(text)]
        folders = [text for text in given.given if not _is_option(text)]
        if not folders:
            raise InputError(
                "no run given: python -m calm_bench.certify runs/RUN_ID calibration.risk=[0.03]; see --help"
            )
        changes = parse(options)
        runs = [_finished(folder) for folder in folders]  # every run is looked at before any is changed
        settings = [settings_of(run, changes) for run in runs]
        for run, wanted in zip(runs, settings, strict=True):
            before = len(run.info["promises"])
            *lines, place = add(run, wanted, given.allow)
            console.say("\n".join(lines))
            changed = Run.open(run.path)
            if len(changed.info["promises"]) > before and drawing.folder(run).is_dir():
                drawing.draw(changed)
            console.say(place)
            _mirror(changed)
    except InputError as error:
        console.complain(f"calm-bench: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        console.complain("calm-bench: interrupted; the same command goes on from where it was")
        sys.exit(130)


def parse(options: Sequence[str]) -> dict[str, Any]:
    """`calibration.KEY=VALUE ...`, in Hydra's syntax, as {KEY: VALUE}. Raises InputError."""
    known = [field.name for field in fields(CalibrationConfig)]
    changes: dict[str, Any] = {}
    for text in options:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise InputError(f"{text}: {str(error).splitlines()[0]}; see --help") from None
        group, _, key = str(override.key_or_group).rpartition(".")
        if group != "calibration" or key not in known or override.is_delete():
            name = f"{group}.{key}".removeprefix(".")
            raise InputError(unknown_option(name, [f"calibration.{key}" for key in known], "--help"))
        if override.is_sweep_override():
            raise InputError(f"{text}: one value at a time, or a list in brackets; see --help")
        changes[key] = override.value()
    return changes


def settings_of(run: Run, changes: Mapping[str, Any]) -> CalibrationConfig:
    """The run's own calibration with these changes, checked. Raises InputError."""
    known = {field.name for field in fields(CalibrationConfig)}
    recorded = run.info["config"]["calibration"]
    own = OmegaConf.structured(CalibrationConfig)
    own.merge_with({"bootstrap_seed": recorded["seed"]}, {key: recorded[key] for key in known if key in recorded})
    for key, value in changes.items():
        before = own[key]
        try:
            own[key] = value
            after = own[key]
        except OmegaConfBaseException as error:
            raise InputError(not_taken(f"calibration.{key}={value}", error)) from None
        if key in FIXED and after != before:
            raise InputError(
                f"calibration.{key}={value} must stay {before}, the run's own: all promises of a record are checked on "
                "the same splits"
            )
    settings = OmegaConf.to_object(own)
    assert isinstance(settings, CalibrationConfig)
    return settings


def add(run: Run, settings: CalibrationConfig, allowed: Sequence[str] = ()) -> list[str]:
    """Add what the run's record lacks of these promises; the lines to print, the last of them `run: FOLDER`.

    allowed: modules beside the suite's own whose classes the record may name.
    """
    with locked(run.path):
        run = Run.open(run.path)
        method = method_of(settings, within=("calm_bench.calibration", *allowed))
        with progress.waiting("reading the losses"):
            outcomes = losses.outcomes(run)
        promises = make_promises(outcomes, settings, method)
        wanted = _keys(promises)
        there = _recorded(run.read("certificates"))
        lacking = [promise for promise in promises if not _keys([promise]).isin(there).all()]
        if lacking:
            quality, examples = _quality(run, allowed), run.read("examples")

            def of_quality(rules: Collection[int]) -> Statistics:
                texts = run.table("generations").batches(["example", "rule", "prediction"], rules)
                return statistics(quality, texts, rules, examples)

            rows = certificates(lacking, quality, of_quality)
            new = rows[~_recorded(rows).isin(there)]
            words = [promise.certificate.promise for promise in lacking if _keys([promise])[0] not in there]
            run.add_promises(new, words)
        issued = summary.issued(run)
    asked = issued[_recorded(issued).isin(wanted)]
    fresh = asked[~_recorded(asked).isin(there)]
    shown = [*summary.answers(run, fresh), "", *summary.table(run, fresh), ""] if len(fresh) else []
    rows_added = int((~wanted.isin(there)).sum())
    return [
        *summary.title(run),
        "",
        *shown,
        f"promises added: {len(fresh)}, there before: {len(asked) - len(fresh)}; rows added: {rows_added}",
        f"run: {run.path}",
    ]


def _mirror(run: Run) -> None:
    """Give W&B the record as it is now, where and how its configuration says."""
    if tracking := run.info["config"].get("tracking"):
        from calm_bench.records.mirror import mirror

        mirror(run, group=run.info["name"], **tracking)


def _keys(promises: Sequence[Promise]) -> pd.MultiIndex:
    """What the rows of these promises are recognised by: the certificates on all examples first."""
    return _recorded(pd.DataFrame([row for promise in promises for row in promise.rows()]))


def _recorded(certificates: pd.DataFrame) -> pd.MultiIndex:
    """What a row is recognised by; trial -1 for a promise made on all examples."""
    return pd.MultiIndex.from_frame(certificates[PROMISE].assign(trial=certificates["trial"].fillna(-1).astype(int)))


def _is_option(text: str) -> bool:
    return re.match(r"[+~]*[A-Za-z_][\w./@]*=", text) is not None and not Path(text).exists()


def _finished(folder: str) -> Run:
    run = Run.open(folder)
    if run.status != "finished":
        raise InputError(f"{folder}: the run is {run.status}; only a finished one has the losses to certify")
    return run


def _quality(run: Run, allowed: Sequence[str]) -> Metric:
    """The metric that the run's tables report. A record may be a stranger's, so it names none but the suite's own."""
    from calm_bench.metrics.metric import Metric

    try:
        return build(run.info["config"]["task"]["quality"], Metric, within=("calm_bench.metrics", *allowed))
    except InputError as error:
        raise InputError(f"{run.path}: task.quality: {error}") from error
