"""`python -m analysis.results PAGE RECORDS FIGURES`: the tables of a page of results, made again from records.

A page of Markdown holds a table between `<!-- NAME -->` and `<!-- end -->`, where NAME is its name in FIGURES' index
(index.md). What stands there is replaced by the table and its note; pictures that the page shows are copied beside it.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from analysis.catalogue import CATALOGUE
from analysis.load import Records, load
from analysis.output import Output
from analysis.outputs import name_of, parts_of
from analysis.tables import Table
from calm_bench import console
from calm_bench.errors import InputError

BLOCK = re.compile(r"(<!-- ([\w.@-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"!\[[^]]*\]\(([\w./-]+)\)")


def filled(page: str, records: Records) -> str:
    """The page with every table as the records have it. Raises InputError for a name that is no table of theirs."""
    made = _tables(records)

    def table(block: re.Match[str]) -> str:
        name = block[2]
        if name not in made:
            raise InputError(f"{name}: no such table of these records; there are {', '.join(made)}")
        product = made[name]()
        return f"{block[1]}\n{product.markdown()}\n\n{product.note}\n\n{block[3]}"

    return BLOCK.sub(table, page)


def _tables(records: Records) -> dict[str, Callable[[], Table]]:
    """By its name: how each table of the records is made, when it is asked for."""

    def made(output: Output, part: Records) -> Table:
        product = output.make(part.one() if output.lone else part)
        if not isinstance(product, Table):
            raise InputError(f"{output.stem}: a figure, no table")
        return product

    parts = parts_of(records, CATALOGUE)
    return {
        name_of(output, label): partial(made, output, part)
        for output in CATALOGUE
        for label, part in parts[output.scope].items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, or 2 after one line on standard error."""
    console.prepare()
    parser = argparse.ArgumentParser(prog="python -m analysis.results", description=__doc__)
    parser.add_argument("page", type=Path, help="a Markdown file with marked tables")
    parser.add_argument("records", type=Path, help="a folder of records")
    parser.add_argument("figures", type=Path, help="where `python -m analysis` has drawn these records")
    options = parser.parse_args(arguments)
    try:
        page = options.page.read_text(encoding="utf-8")
        options.page.write_text(filled(page, load(options.records)), encoding="utf-8")
        for picture in PICTURE.findall(page):
            shutil.copyfile(options.figures / Path(picture).name, options.page.parent / picture)
    except (InputError, OSError) as error:
        console.complain(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
