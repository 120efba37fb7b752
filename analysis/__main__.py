"""`python -m analysis RUNS... --out figures/`: every table, figure and the report that the records allow."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from analysis import outputs, report
from analysis.load import Records, load
from calm_bench.errors import InputError

EXAMPLES = """\
examples:
  python -m analysis runs/                              every finished run in runs/, into figures/
  python -m analysis runs/20260101-120000-demo --out /tmp/demo
  python -m analysis runs/A runs/B --out both           runs of one config share a figure, others get their own

what comes out:
  index.html      the report: promises and whether they held, the frontier, and each token coloured by its exit layer
  index.md/.json  what was made from which run, and what the runs lack
  *.png, *.svg    one figure each, at column width
  *.csv, *.md, *.tex    one table each; rows marked "published" are the paper's

Only records are read: no model, no GPU, no network. Unfinished runs are left out, and said.
In a notebook:  import analysis; records = analysis.load("runs/"); analysis.frontier(records.of(GROUP).frontier)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, or 2 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Draw every table, figure and the report that the records of finished runs allow.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUNS", nargs="+", type=Path, help="a run folder, or a folder that holds some")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("figures"), help="where to write (default: figures)"
    )
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        records = load(options.runs)
        made, missing = draw(records, options.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out {options.out}: cannot be written ({error.strerror or error})", file=sys.stderr)
        return 2
    for line in missing:
        print(f"missing: {line}")
    runs = len(records.runs)
    print(f"{len(made)} figures and tables from {runs} run{'s' * (runs != 1)} in {time.monotonic() - begun:.1f} s")
    print(f"report: {options.out / 'index.html'}")
    return 0


def draw(records: Records, out: Path) -> tuple[list[outputs.Made], list[str]]:
    """Write everything that the records allow into `out`, with the report and the index; what was made and what lacks.

    Raises:
        OSError: `out` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    made, missing = outputs.make(records, out)
    report.write(records, out / "index.html", missing)
    index = {
        "runs": records.runs.drop(columns="promises").to_dict("records"),
        "made": [entry.as_json() for entry in made],
        "missing": missing,
        "notes": list(records.notes),
    }
    (out / "index.json").write_text(json.dumps(index, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    (out / "index.md").write_text(_markdown(records, made, missing), encoding="utf-8")
    return made, missing


def _markdown(records: Records, made: list[outputs.Made], missing: list[str]) -> str:
    rows = [
        f"| {entry.title} | {entry.paper or '-'} | {', '.join(f'[{file}]({file})' for file in entry.files)} "
        f"| {', '.join(entry.runs) or 'none needed'} |"
        for entry in made
    ]
    table = ["| what | in the paper | files | runs |", "|---|---|---|---|", *rows]
    sections = [["# Tables and figures", "", "The report: [index.html](index.html).", "", *table]]
    runs = [
        "- {run_id}: {group}, model {model}, seed {seed}, {created}, commit {commit}".format_map(run)
        for run in records.runs.replace({"commit": {"": "unknown"}}).astype(str).to_dict("records")
    ]
    for title, lines in (("Runs", runs), ("Missing", missing), ("Left out", list(records.notes))):
        if lines:
            sections.append([f"## {title}", "", *(line if line.startswith("- ") else f"- {line}" for line in lines)])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


if __name__ == "__main__":
    sys.exit(main())
