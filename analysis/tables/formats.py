"""A table on disk in three formats: CSV for programs, Markdown for reading, LaTeX (booktabs) for a paper."""

from pathlib import Path

import pandas as pd


def write_table(stem: Path, tidy: pd.DataFrame, shown: pd.DataFrame, note: str) -> tuple[str, ...]:
    """Write STEM.csv from `tidy`, STEM.md and STEM.tex from `shown` with `note` below; the file names."""
    csv, markdown, latex = (stem.with_suffix(f".{kind}") for kind in ("csv", "md", "tex"))
    tidy.to_csv(csv, index=False)
    text = shown.to_markdown(index=False, disable_numparse=True, stralign="left")
    markdown.write_text(f"{text}\n\n{note}\n", encoding="utf-8")
    body = shown.rename(columns=_escaped).map(lambda cell: _escaped(str(cell)))
    rules = body.style.hide(axis="index").to_latex(hrules=True, column_format="l" * body.shape[1])
    latex.write_text(f"% needs \\usepackage{{booktabs}}\n{rules}% {note}\n".replace("δ", "$\\delta$"), encoding="utf-8")
    return csv.name, markdown.name, latex.name


def _escaped(text: str) -> str:
    for special in "&%$#_{}":
        text = text.replace(special, "\\" + special)
    return text
