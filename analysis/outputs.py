"""Everything that can be made from the records: one file stem, title and maker per figure and table."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import plots, rules, style, tables
from analysis.load import Records
from analysis.recertify import recertify
from calm_bench.errors import InputError

EPSILONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


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


@dataclass(frozen=True)
class Drawing:
    """A figure that a group's records may allow; `draw` raises InputError when they do not."""

    stem: str
    title: str
    paper: str
    draw: Callable[[Records], Figure]


def _frontier(x: str) -> Callable[[Records], Figure]:
    return lambda part: plots.frontier(part.frontier, x, quality=part.runs["quality"].iloc[0])


def _consistency(objective: str) -> Callable[[Records], Figure]:
    return lambda part: plots.consistency(
        rules.own(part.certificates), objective, similarity=part.runs["similarity"].iloc[0]
    )


def _finer(objective: str) -> Callable[[Records], Figure]:
    return lambda part: plots.consistency(
        recertify(part.generations, objective), objective, similarity=part.runs["similarity"].iloc[0]
    )


def _tokens(draw: Callable[[pd.DataFrame, int], Figure]) -> Callable[[Records], Figure]:
    def drawn(part: Records) -> Figure:
        chosen = rules.representative(rules.own(part.certificates), part.frontier)
        return draw(rules.select(part.tokens, chosen), int(part.runs["layers"].max()))

    return drawn


def _promises(part: Records) -> Figure:
    pairs = part.certificates[["objective", "delta"]].drop_duplicates()
    if not len(pairs):
        raise InputError("no certificates in the runs")
    again = [
        recertify(part.generations, str(objective), deltas=sorted(rows["delta"]), epsilons=EPSILONS)
        for objective, rows in pairs.groupby("objective")
    ]
    return plots.broken_promises(pd.concat(again, ignore_index=True))


def _seconds(part: Records) -> Figure:
    return plots.seconds_saved(part.timings)


DRAWINGS = (
    Drawing("frontier", "Quality against layers", "Fig. 3, B.6", _frontier("mean_exit_layer")),
    Drawing("frontier-flops", "Quality against FLOPs", "", _frontier("flops_reduction")),
    Drawing("frontier-seconds", "Quality against seconds", "", _frontier("seconds")),
    Drawing("consistency-textual", "Textual loss and layers against δ", "Fig. B.1, B.3", _consistency("textual")),
    Drawing("consistency-risk", "Risk loss and layers against δ", "Fig. B.2, B.4", _consistency("risk")),
    Drawing("consistency-textual-fine", "Textual loss against a finer grid of δ", "Fig. B.1, B.3", _finer("textual")),
    Drawing("consistency-risk-fine", "Risk loss against a finer grid of δ", "Fig. B.2, B.4", _finer("risk")),
    Drawing("exit-histogram", "Tokens by exit layer", "", _tokens(plots.exit_histogram)),
    Drawing("exit-by-position", "Exit layer along the text", "", _tokens(plots.exit_by_position)),
    Drawing("broken-promises", "Broken promises against ε", "", _promises),
    Drawing("seconds-saved", "Layers saved against seconds saved", "", _seconds),
)


def make(records: Records, out: Path) -> tuple[list[Made], list[str]]:
    """Write every figure (PNG and SVG) and table (CSV, Markdown, LaTeX) into `out`; the index, and what is missing."""
    made: list[Made] = []
    missing: list[str] = []
    for entry in _entries(records, out):
        if isinstance(entry, Made):
            made.append(entry)
        else:
            missing.append(entry)
    return made, missing


def _entries(records: Records, out: Path) -> Iterator[Made | str]:
    decay = plots.threshold_decay()
    yield Made("threshold-decay", "Decayed threshold (formula)", "Fig. 2b", save(decay, out, "threshold-decay"), ())
    for group in records.groups:
        part = records.of(group)
        runs = tuple(part.runs["run_id"])
        for drawing in DRAWINGS:
            name = f"{drawing.stem}-{_file_safe(group)}"
            try:
                files = save(drawing.draw(part), out, name)
            except InputError as error:
                yield f"{group}, {drawing.title.lower()}: {error}"
            else:
                yield Made(name, f"{drawing.title}, {group}", drawing.paper, files, runs)
    runs = tuple(records.runs["run_id"])
    try:
        table = tables.efficiency(records.certificates, records.frontier)
    except InputError as error:
        yield f"efficiency table: {error}"
        return
    note = tables.note(table, runs)
    files = tables.write_table(out / "efficiency", table, tables.efficiency_wide(table), note)
    yield Made("efficiency", "Layers, FLOPs and speedup at each promise", "Table 2", files, runs)
    losses = ", ".join(f"1 - {name}" for name in dict.fromkeys(records.runs["similarity"]))
    sure = tables.certified(records.certificates, records.frontier)
    files = tables.write_table(
        out / "certified", sure, tables.certified_shown(sure), f"Losses: {losses}. Runs: {', '.join(runs)}."
    )
    yield Made("certified", "Certified thresholds", "", files, runs)
    yield from (f"efficiency table: {line}" for line in tables.missing(table))


def save(fig: Figure, out: Path, stem: str) -> tuple[str, ...]:
    """Write the figure as PNG and SVG; the file names. The SVG carries no date, so equal records give equal files."""
    with style.context():
        fig.savefig(out / f"{stem}.png")
        fig.savefig(out / f"{stem}.svg", metadata={"Date": None})
    return f"{stem}.png", f"{stem}.svg"


def _file_safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
