"""The figures and the report in a run's own folder, drawn after the run and after new promises."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from calm_bench import console
from calm_bench.build import cause
from calm_bench.records.store import Run

log = logging.getLogger(__name__)


def folder(record: Run) -> Path:
    """Where they lie."""
    return record.path / "figures"


def is_there(record: Run) -> bool:
    """Whether they were drawn, and of the record as it is now."""
    page, now = folder(record) / "index.html", record.path / "run.json"
    return page.exists() and page.stat().st_mtime_ns >= now.stat().st_mtime_ns


def draw(record: Run) -> None:
    """Draw every figure and table that the record allows, unless they are there, and say where they lie.

    Where it fails, that is said.
    """
    out = folder(record)
    try:
        if not is_there(record):
            import analysis

            analysis.draw(analysis.load([record.path], quiet=True), out)
    except Exception as error:  # a full disk, a font, a text that cannot be drawn: the record is complete all the same
        shutil.rmtree(out, ignore_errors=True)
        again = f"python -m analysis {record.path} --out {out}"
        log.warning("no figures: %s; once that is mended, `%s` draws them", cause(error), again)
        return
    console.say(f"report: {out / 'index.html'}")
