"""A report and a browser to open it in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import Records, report
from tests.analysis.report.browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Only for tests that `needs_chromium` guards."""
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def page(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    report.write(records, path, ["no runs on <moon>"])
    return path
