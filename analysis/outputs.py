"""Everything in the catalogue that the records allow, written to a folder."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis import style, tables
from analysis.catalogue import CATALOGUE
from analysis.load import Records
from analysis.output import Output
from analysis.plots.decay import threshold_decay
from analysis.scopes import Parts, Scope
from calm_bench.errors import InputError


@dataclass(frozen=True)
class Made:
    """One entry of the index: what it is, the paper's item it stands beside, its files, and the runs behind it."""

    name: str
    title: str
    paper: str
    files: tuple[str, ...]
    runs: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The entry as plain values."""
        return asdict(self)


def make(records: Records, out: Path, more: Sequence[Output] = ()) -> tuple[list[Made], list[str]]:
    """Write every figure (PNG and SVG) and table (CSV, Markdown, LaTeX) into `out`; the index, and what is missing.

    more: what is made beside the catalogue.
    """
    formula = save(threshold_decay(), out, "threshold-decay")
    made = [Made("threshold-decay", "Decayed threshold (formula)", "Fig. 2b", formula, ())]
    missing: list[str] = []
    known: dict[Scope, Parts] = {}
    for output in (*CATALOGUE, *more):
        if output.scope not in known:
            known[output.scope] = output.scope(records)
        parts = known[output.scope]
        if not parts and output.absent:
            missing.append(output.absent)
        for entry in _entries(output, parts, out):
            if isinstance(entry, Made):
                made.append(entry)
            else:
                missing.append(entry)
    return made, missing


def _entries(output: Output, parts: Parts, out: Path) -> Iterator[Made | str]:
    for label, part in parts.items():
        name = "-".join([output.stem, *([_file_safe(label)] if label else [])])
        title = ", ".join([output.title, *([label] if label else [])])
        commands = dict(zip(part.runs["run_id"], part.runs["command"], strict=True))
        try:
            product = output.make(part)
        except InputError as error:
            yield f"{title}: {error}"
            continue
        if isinstance(product, Figure):
            files = save(product, out, name)
        else:
            commands = _used(product, commands)
            files = tables.write_table(out / name, product, commands)
            yield from (f"{title}: {line}" for line in product.missing)
        yield Made(name, title, output.paper, files, tuple(commands))


def _used(table: tables.Table, commands: dict[str, str]) -> dict[str, str]:
    """The commands of the runs that the table's rows come from, where they say so."""
    runs = set(table.tidy.get("run_id", commands))
    return {run_id: command for run_id, command in commands.items() if run_id in runs}


def save(fig: Figure, out: Path, stem: str) -> tuple[str, ...]:
    """Write the figure as PNG and SVG; the file names. The SVG carries no date, so equal records give equal files."""
    with style.context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a text of a model may hold any letter
        fig.savefig(out / f"{stem}.png")
        fig.set_layout_engine("none")  # laid out by the first
        fig.savefig(out / f"{stem}.svg", metadata={"Date": None})
    return f"{stem}.png", f"{stem}.svg"


def _file_safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
