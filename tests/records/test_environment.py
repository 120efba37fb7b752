"""What a record says of the process that wrote it."""

import subprocess
import sys

import pytest

CHILD = "from calm_bench.records.environment import peak_memory_mb; print(peak_memory_mb())"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_memory_is_not_that_of_the_process_that_started_it() -> None:
    held = b"x" * 600_000_000
    child = subprocess.run([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, check=True)
    assert 5 < float(child.stdout) < len(held) / 2e6
