"""Everything at once: all figures and tables, the report, and an index of what was made from which run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import outputs, report
from analysis.load import Records
from analysis.output import Output


def draw(
    records: Records, out: Path, more: Sequence[Output] = (), processes: int = 1
) -> tuple[list[outputs.Made], list[str]]:
    """Write everything that the records allow into `out`, with the report and the index; what was made and what lacks.

    more: figures and tables beside those of the catalogue. processes: that draw them at the same time.

    Raises:
        OSError: `out` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = _before(out)
    made, missing = outputs.make(records, out, more, {entry.name: entry for entry in before["made"]}, processes)
    linked = report.own_pages(records) if len(records.runs) > 1 else {}
    files = (file for entry in made for file in entry.files)
    page = outputs.state_of(records, *missing, *records.notes, *files, *linked)
    if before["page"] != page or not (out / "index.html").exists():
        report.write(records, out / "index.html", missing, made, processes)
    index = {
        "page": page,
        "runs": records.runs.drop(columns=["promises", "config"]).to_dict("records"),
        "made": [entry.as_json() for entry in made],
        "missing": missing,
        "notes": list(records.notes),
    }
    (out / "index.json").write_text(json.dumps(index, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    (out / "index.md").write_text(_markdown(records, made, missing), encoding="utf-8")
    return made, missing


def _before(out: Path) -> dict[str, Any]:
    """What an earlier call has left in `out`: the state of its page, and what was made."""
    try:
        index = json.loads((out / "index.json").read_text(encoding="utf-8"))
        made = [
            outputs.Made(**{**entry, **{name: tuple(entry[name]) for name in ("files", "runs", "said")}})
            for entry in index["made"]
        ]
        return {"page": index["page"], "made": made}
    except (OSError, ValueError, KeyError, TypeError):  # none, or another release's
        return {"page": None, "made": []}


def _markdown(records: Records, made: list[outputs.Made], missing: list[str]) -> str:
    rows = [
        f"| {entry.title} | {entry.paper or '-'} | {', '.join(f'[{file}]({file})' for file in entry.files)} "
        f"| {', '.join(entry.runs) or 'none needed'} |"
        for entry in made
    ]
    table = ["| what | in the paper | files | runs |", "|---|---|---|---|", *rows]
    sections = [["# Tables and figures", "", "The report: [index.html](index.html).", "", *table]]
    runs = [
        "- {run_id}: {group}, model {model}, seed {seed}, {created}, commit {commit}, made by `{command}`".format_map(
            run
        )
        for run in records.runs.replace({"commit": {"": "unknown"}, "command": {"": "unknown"}})
        .astype(str)
        .to_dict("records")
    ]
    for title, lines in (("Runs", runs), ("Missing", missing), ("Left out or kept apart", list(records.notes))):
        if lines:
            sections.append([f"## {title}", "", *(line if line.startswith("- ") else f"- {line}" for line in lines)])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"
