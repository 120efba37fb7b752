"""Everything in the catalogue that the records allow, written to a folder."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure

from analysis import in_parallel, style, tables
from analysis.catalogue import CATALOGUE
from analysis.load import Records
from analysis.output import Drawn, Output
from analysis.plots.decay import threshold_decay
from analysis.scopes import Parts, Scope
from calm_bench import progress
from calm_bench.errors import InputError


@dataclass(frozen=True)
class Made:
    """One entry of the index: what it is, the paper's item it stands beside, its files, and the runs behind it.

    stem: that of the catalogue. key: a hash of all that it is made from. said: what it lacks, one sentence each.
    """

    name: str
    title: str
    paper: str
    files: tuple[str, ...]
    runs: tuple[str, ...]
    stem: str = ""
    key: str = ""
    said: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The entry as plain values."""
        return asdict(self)


def make(
    records: Records,
    out: Path,
    more: Sequence[Output] = (),
    before: Mapping[str, Made] | None = None,
    processes: int = 1,
) -> tuple[list[Made], list[str]]:
    """Write every figure (PNG, SVG, and CSV of what it shows) and table (CSV, Markdown, LaTeX) into `out`.

    Returns the index, and what is missing.

    more: what is made beside the catalogue. before: by name, what an earlier call has made in `out`: what would come
    out the same is not made again. processes: that draw at the same time (`in_parallel`).
    """
    files: tuple[str, ...] = ("threshold-decay.png", "threshold-decay.svg")
    if not all((out / file).exists() for file in files):
        files = save(threshold_decay(), out, "threshold-decay")
    made = [Made("threshold-decay", "Decayed threshold (formula)", "Fig. 2b", files, (), "threshold-decay")]
    missing: list[str] = []
    parts = parts_of(records, (*CATALOGUE, *more))
    todo: list[tuple[Output, str, Records]] = []
    for output in (*CATALOGUE, *more):
        todo += [(output, label, part) for label, part in parts[output.scope].items()]
        if not parts[output.scope] and output.absent:
            missing.append(output.absent)
    entries = in_parallel.each(lambda one: _entry(*one, out, before or {}), todo, processes)
    for entry in progress.each(entries, len(todo), "draw", "output"):
        if isinstance(entry, Made):
            made.append(entry)
            missing += entry.said
        else:
            missing.append(entry)
    return made, missing


def parts_of(records: Records, outputs: Sequence[Output]) -> dict[Scope, Parts]:
    """The parts of the records that each scope of these outputs has: outputs of one scope share them."""
    return {scope: scope(records) for scope in dict.fromkeys(output.scope for output in outputs)}


def _entry(output: Output, label: str, part: Records, out: Path, before: Mapping[str, Made]) -> Made | str:
    """What was made of one part, or why it could not be."""
    name = name_of(output, label)
    title = ", ".join([output.title, *([label] if label else [])])
    if output.lone:
        part = part.one()
    key = state_of(part, output.stem)
    last = before.get(name)
    if last is not None and last.key == key and all((out / file).exists() for file in last.files):
        return last
    commands = dict(zip(part.runs["run_id"], part.runs["command"], strict=True))
    files: tuple[str, ...]
    said: tuple[str, ...] = ()
    try:
        product = output.make(part)
    except InputError as error:
        return f"{title}: {error}"
    if isinstance(product, Drawn):
        files = (*save(product.figure, out, name), f"{name}.csv")
        product.data.to_csv(out / files[-1], index=False)
    elif isinstance(product, Figure):
        files = save(product, out, name)
    else:
        commands = _used(product, commands)
        files = tables.write_table(out / name, product, commands)
        said = tuple(f"{title}: {line}" for line in product.missing)
    return Made(name, title, output.paper, files, tuple(commands), output.stem, key, said)


def state_of(part: Records, *more: str) -> str:
    """A hash of these runs as they are now, of the code that draws them, and of `more`."""
    digest = hashlib.sha256(_code())
    for text in (*more, *part.runs[["run_id", "group"]].to_numpy().ravel()):
        digest.update(f"{text}\0".encode())
    for run_id in part.runs["run_id"]:
        digest.update(json.dumps(part.stored[run_id].record.info, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


@cache
def _code() -> bytes:
    """A hash of this package and of the versions of what it draws with."""
    digest = hashlib.sha256("".join(map(version, ("matplotlib", "numpy", "pandas", "scipy"))).encode())
    for folder in (Path(__file__).parent, Path(__file__).parents[1] / "calm_bench" / "calibration"):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".csv", ".j2", ".js", ".css"):
                digest.update(file.read_bytes())
    return digest.digest()


def name_of(output: Output, label: str) -> str:
    """What an output of the part with this label is called, as are its files."""
    return "-".join([output.stem, *([_file_safe(label)] if label else [])])


def _used(table: tables.Table, commands: dict[str, str]) -> dict[str, str]:
    """The commands of the runs that the table's rows come from, where they say so."""
    runs = set(table.tidy.get("run_id", commands))
    return {run_id: command for run_id, command in commands.items() if run_id in runs}


def save(fig: Figure, out: Path, stem: str) -> tuple[str, ...]:
    """Write the figure as PNG and SVG; the file names. The SVG carries no date, so equal records give equal files."""
    with style.context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a text of a model may hold any letter
        fig.set_dpi(rcParams["savefig.dpi"])  # for which it is laid out
        if layout := fig.get_layout_engine():
            layout.execute(fig)
            fig.set_layout_engine(None)  # savefig would draw the whole figure once more to lay it out
        fig.savefig(out / f"{stem}.png")
        fig.savefig(out / f"{stem}.svg", metadata={"Date": None})
    return f"{stem}.png", f"{stem}.svg"


def _file_safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
