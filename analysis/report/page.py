"""From records to index.html. Every text from a model or a data set is escaped, in HTML and in the embedded JSON."""

import base64
import hashlib
import os
from collections.abc import Hashable, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import answers, in_parallel, plots, pooling, rules, scopes, tables
from analysis.load import Records
from analysis.outputs import Made
from analysis.report.drawing import inline_svg
from analysis.report.explorer import MAX_BYTES, link, payload
from analysis.report.gallery import sections
from analysis.report.promises import Tolerance, over_runs, tolerances, verdict
from analysis.report.slider import slider
from analysis.tables.scores import not_better
from calm_bench import progress
from calm_bench.errors import InputError

TERMS = ("ε", "ε covers", "method", "n")  # of a promise; where all share them, its head says it


def write(records: Records, path: Path, missing: list[str], made: Sequence[Made] = (), processes: int = 1) -> None:
    """Write the page: slider, promises, frontier, certified thresholds and the explorer, per group; figures and tables.

    missing: what the runs lack, in words. made: what lies beside the page. Both are what `outputs.make` gives.
    processes: that work on groups at the same time.

    Raises:
        OSError: `path` cannot be written.
    """
    parts = scopes.groups(records) or {group: records.of(group) for group in records.groups}
    most = MAX_BYTES // len(parts)
    told = in_parallel.each(lambda one: _told(*one, most, path.parent), list(parts.items()), processes)
    groups, data, sliders = zip(*progress.each(told, len(parts), "write the report", "group"), strict=True)
    script = "".join(map(_asset, ("page.js", "slider.js", "sides.js", "explorer.js")))
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=_title(records),
            answers=answers.answered(records),
            groups=groups,
            data={"groups": data, "sliders": sliders},
            comparable=sum(table is not None for table in sliders) > 1,
            sections=sections(made, path.parent),
            missing=missing,
            notes=records.notes,
            style=Markup(_asset("page.css")),
            script=Markup(script),
            # The policy lets this one script run and nothing that a text might smuggle in.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    path.write_text(page, encoding="utf-8")


def _told(
    name: str, part: Records, most: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
    """What the page says of one group, the texts of its explorer in `most` bytes, and its slider."""
    explored = payload(part.one(), name, most)
    return _group(part, explored, folder), explored, slider(part.one())


def _title(records: Records) -> str:
    """The tasks, and what decoded them."""
    tasks, models = (", ".join(dict.fromkeys(records.runs[key])) for key in ("task", "model"))
    return f"Early exits on {tasks}, model {models}"


def own_pages(records: Records) -> dict[str, Path]:
    """By run id, the page in a run's own folder, of those that have one."""
    folders = zip(records.runs["run_id"], records.runs["folder"], strict=True)
    pages = {str(run_id): Path(folder) / "figures" / "index.html" for run_id, folder in folders}
    return {run_id: page for run_id, page in pages.items() if page.exists()}


def _runs(part: Records, folder: Path) -> list[dict[Hashable, Any]]:
    """The runs, each with where it lies as seen from `folder`, and its own page if it has one."""

    def seen(path: str | Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    pages = {run_id: seen(page) for run_id, page in own_pages(part).items()}
    abouts = part.runs.to_dict("records")
    return [{**about, "at": seen(about["folder"]), "page": pages.get(about["run_id"], "")} for about in abouts]


def _group(part: Records, explored: dict[str, Any], folder: Path) -> dict[str, Any]:
    runs = part.runs
    promised, certified = _certified(part)
    return {
        "name": explored["group"],
        "runs": _runs(part, folder),
        "quality": runs["quality"].iloc[0],
        "similarity": runs["similarity"].iloc[0],
        "draws": part.draws,
        "timed_on": part.timed_on,
        "n": int(part.frontier["n"].max()),
        "layers": explored["layers"],
        "tolerances": promised,
        "verdict": " ".join(filter(None, [not_better(runs), verdict(promised)])),
        "over_runs": over_runs(promised),
        "certified": certified,
        "frontier": _frontier(part, explored["group"]),
        "baselines": set(part.frontier["measure"]),
        "link": partial(link, explored),
    }


def _certified(part: Records) -> tuple[list[Tolerance], pd.DataFrame | None]:
    try:
        every = tables.certified(part.certificates)
    except InputError:
        return [], None
    table = every[every["run_id"].isin(part.one().runs["run_id"])]
    shown = tables.certified_shown(table).drop(columns=["experiment", "run"])
    shown = shown.drop(columns=[name for name in TERMS if shown[name].nunique() == 1])
    promised = tolerances(table, int(part.runs["layers"].max()), part.similarity, every)
    return promised, shown.loc[:, (shown != "").any()]


def _frontier(part: Records, group: str) -> Markup | None:
    try:
        said = {"quality": part.quality, "bands": pooling.bands(part)}
        fig = plots.frontier(pooling.frontier(part), **said, certified=rules.certified(part))
    except InputError:
        return None
    return inline_svg(fig, f"Quality against mean decoder layers per token, one curve per measure, {group}")


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
