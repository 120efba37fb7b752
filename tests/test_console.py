"""A run that is finished says so, whatever becomes of its output, its pictures and its home."""

import subprocess
import sys
from pathlib import Path

import pytest

from calm_bench.records.store import Run
from tests import cli

SHORT = ["limit=4", "task.max_new_tokens=6", "measure=[softmax]", "threshold.grid=[0.5]", "baselines=[]", "device=cpu"]
NO_TIMING = ["timing.examples=0", "calibration.trials=3", "tracking=disabled"]
PRINTING_TO = """
import os
from calm_bench.__main__ import main
{}
main()
"""
FULL = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
CLOSED = "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)"


def command(checkpoint: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "calm_bench", f"model.path={checkpoint}", *SHORT, *NO_TIMING, *more]


@pytest.mark.slow
def test_without_a_home_without_letters_and_with_a_notebooks_backend(tiny_checkpoint: Path, tmp_path: Path) -> None:
    variables = {
        "HOME": "/dev/null/nobody",
        "PYTHONIOENCODING": "ascii",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    kept = {name: value for name, value in cli.environment().items() if not name.startswith(("XDG_", "HF_H", "MPLC"))}
    done = subprocess.run(
        command(tiny_checkpoint), cwd=tmp_path, env={**kept, **variables}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "\\u03b4" in done.stdout
    assert Run.open(tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")).status == "finished"
    assert list(tmp_path.glob("runs/demo-*/figures/frontier*.png"))


@pytest.mark.slow
def test_a_full_disk_and_a_closed_pipe_cost_nothing_but_the_words(tiny_checkpoint: Path, tmp_path: Path) -> None:
    quiet = command(tiny_checkpoint, "figures=false")[3:]

    def printing_to(output: str) -> str:
        words = ["-c", PRINTING_TO.format(output), *quiet]
        process = cli.python(*words, cwd=tmp_path, env=cli.environment())
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return err

    assert "calm-bench: standard output: No space left on device" in printing_to(FULL)
    said = printing_to(CLOSED)
    assert "finished before" in said
    assert "roken" not in said
    assert [run.name for run in tmp_path.glob("runs/demo-*")] == [Run.open(next(tmp_path.glob("runs/demo-*"))).run_id]


@pytest.mark.slow
def test_figures_that_cannot_be_written_are_one_line_after_the_result(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = cli.run(*command(tiny_checkpoint, "figures=false")[3:], cwd=tmp_path)
    run = next(tmp_path.glob("runs/demo-*"))
    (run / "figures").write_text("in the way")
    done = cli.run(*command(tiny_checkpoint)[3:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("no figures: ")]
    assert f"python -m analysis runs/{run.name} --out runs/{run.name}/figures" in line
    assert "full model" in done.stdout
    assert done.stdout.splitlines()[-1] == f"run: runs/{run.name}"


def test_ctrl_c_while_a_command_is_imported_is_a_line(tmp_path: Path) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (tmp_path / "begins.py").write_text(f"{kill}; import time; time.sleep(60)")
    (tmp_path / "begun.py").write_text(f"def main():\n try:\n  {kill}\n except KeyboardInterrupt:\n  print('as ever')")
    ends = {"begins": (130, "", "calm-bench: interrupted while it started\n"), "begun": (0, "as ever\n", "")}
    for module, end in ends.items():
        code = f"from calm_bench.starting import main_of; main_of({module!r})()"
        process = cli.python("-c", code, cwd=tmp_path, env=cli.environment())
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == end
