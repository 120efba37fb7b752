"""Several processes make what one makes, in its order, and an error of theirs is ours."""

import os

import pytest

from analysis import in_parallel, load
from analysis.index import draw
from tests.analysis.conftest import Drawing

pytestmark = pytest.mark.skipif(in_parallel.sys.platform != "linux", reason="processes are forked on Linux alone")


def test_results_come_in_order_and_from_other_processes() -> None:
    items = [lambda number=number: number for number in range(20)]  # no process could send them to another
    found = list(in_parallel.each(lambda item: (item(), os.getpid()), items, 2))
    assert [number for number, _ in found] == list(range(20))
    assert os.getpid() not in {process for _, process in found}
    assert {process for _, process in in_parallel.each(lambda item: (item(), os.getpid()), items, 1)} == {os.getpid()}


def test_an_error_is_raised_here() -> None:
    def fail(number: int) -> int:
        if number == 3:
            raise OSError(28, "No space left on device")
        return number

    found = in_parallel.each(fail, range(10), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="No space left"):
        next(found)


@pytest.mark.slow
def test_one_process_draws_what_several_have_drawn(drawing: Drawing) -> None:
    again = drawing.out.with_name("alone")
    draw(load(drawing.run.parent, quiet=True), again)
    for first in drawing.out.iterdir():
        assert first.read_bytes() == (again / first.name).read_bytes(), first.name
