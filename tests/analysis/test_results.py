"""A page of results holds what its records say, and the published pages hold what the published records say."""

import pytest

from analysis import results
from analysis.load import Records
from calm_bench.errors import InputError

PAGE = "# Words\n\n<!-- efficiency -->\nSTALE\n<!-- end -->\n\nmore words\n"


def test_a_table_takes_the_place_of_what_stood_there(records: Records) -> None:
    page = results.filled(PAGE, records)
    assert page.startswith("# Words\n\n<!-- efficiency -->\n\n| ")
    assert page.endswith("<!-- end -->\n\nmore words\n")
    assert "STALE" not in page
    assert results.filled(page, records) == page


def test_what_is_no_table_is_named(records: Records) -> None:
    with pytest.raises(InputError, match="nothing: no such table of these records; there are .*efficiency"):
        results.filled(PAGE.replace("efficiency", "nothing"), records)
    with pytest.raises(InputError, match="a figure, no table"):
        results.filled(PAGE.replace("efficiency", f"frontier-{records.groups[0]}"), records)
