"""From records to index.html. Every text from a model or a data set is escaped, in HTML and in the embedded JSON."""

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import plots, tables
from analysis.load import Records
from analysis.report.drawing import inline_svg
from analysis.report.explorer import MAX_BYTES, payload
from analysis.report.promises import Promise, promises
from calm_bench.errors import InputError


def write(records: Records, path: Path, missing: list[str]) -> None:
    """Write the page: promises, frontier, certified thresholds and the explorer, per group.

    missing: what the runs lack, in words, as `outputs.make` says it.

    Raises:
        OSError: `path` cannot be written.
    """
    groups = [_group(records.of(group), group) for group in records.groups]
    share = MAX_BYTES // len(groups)
    script = _asset("page.js")
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            groups=groups,
            data=[payload(records.of(group), group, share) for group in records.groups],
            missing=missing,
            notes=records.notes,
            style=Markup(_asset("page.css")),
            script=Markup(script),
            # The policy lets this one script run and nothing that a text might smuggle in.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    path.write_text(page, encoding="utf-8")


def _group(part: Records, group: str) -> dict[str, Any]:
    runs = part.runs
    promised, certified = _certified(part)
    return {
        "name": group,
        "runs": runs.to_dict("records"),
        "n": int(part.frontier["n"].max()),
        "layers": int(runs["layers"].max()),
        "promises": promised,
        "certified": certified,
        "frontier": _frontier(part),
    }


def _certified(part: Records) -> tuple[list[Promise], pd.DataFrame | None]:
    try:
        table = tables.certified(part.certificates, part.frontier)
    except InputError:
        return [], None
    layers = int(part.runs["layers"].max())
    shown = tables.certified_shown(table).drop(columns="experiment")
    return promises(table, layers), shown.loc[:, (shown != "").any()]


def _frontier(part: Records) -> Markup | None:
    try:
        fig = plots.frontier(part.frontier, quality=str(part.runs["quality"].iloc[0]))
    except InputError:
        return None
    return inline_svg(fig, "Quality against mean decoder layers per token, one curve per measure")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # `tojson` escapes <, >, & and quotes; letters outside ASCII stay as they are, which is shorter.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment


def _asset(name: str) -> str:
    return (resources.files("analysis.report") / name).read_text(encoding="utf-8")
