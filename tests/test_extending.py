"""What stands in docs/extending.md and in the README's section about it: files as printed, commands as printed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calm_bench.records.store import Run
from tests import cli

PAGES = {name: (cli.ROOT / name).read_text() for name in ("docs/extending.md", "README.md")}
FILES = re.findall(r"`(examples/extending/[^`]+)`:\n\n```\w+\n(.*?)```", PAGES["docs/extending.md"], re.DOTALL)
COMMANDS = {
    name: re.findall(r"```sh\n(cd examples/extending\n.*?)```", page, re.DOTALL) for name, page in PAGES.items()
}
MORE = ["device=cpu", "task.max_new_tokens=6", *cli.QUICK]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, without a checkout around it."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(cli.ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__", "runs"))
    return folder


def bash(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A script as a user types it, where `python` is the one of these tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-e", "-c", script]
    return subprocess.run(
        command, cwd=cwd, env={**cli.environment(), "PATH": path}, capture_output=True, text=True, timeout=300
    )


def test_the_page_prints_the_files_as_they_are() -> None:
    printed = {name for name, _ in FILES}
    lying = {file.relative_to(cli.ROOT).as_posix() for file in (cli.ROOT / "examples/extending").rglob("*.[py]*[yl]")}
    assert printed == lying
    for name, text in FILES:
        assert text == (cli.ROOT / name).read_text(), name


@pytest.mark.slow
def test_the_commands_run_as_they_are_printed(outside: Path) -> None:
    assert COMMANDS["README.md"] == COMMANDS["docs/extending.md"]
    (script,) = COMMANDS["README.md"]
    done = bash(script, outside)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("run: ")]
    run = Run.open(outside / "examples/extending" / line.removeprefix("run: "))
    assert {"softmax", "agree", "static"} == set(run.read("certificates")["measure"])
    assert set(run.read("certificates")["method"]) == {"cautious"}
    assert run.info["config"]["task"]["name"] == "shout"
    assert list((outside / "examples/extending/figures").glob("lengths-*.png"))


@pytest.mark.slow
def test_options_of_ones_own_are_in_the_key_and_typos_are_refused(outside: Path, tiny_checkpoint: Path) -> None:
    folder = outside / "examples/extending"
    command = ["hydra.searchpath=[file://conf]", "task=shout", "measure=[agree]", f"model.path={tiny_checkpoint}"]
    first, second = (
        cli.run(*command, f"task.options.mark={mark}", "limit=3", *MORE, cwd=folder) for mark in ("'?'", "'!'")
    )
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout.splitlines()[-1] != second.stdout.splitlines()[-1]
    for typo, words in [
        ("task.promt=x", "did you mean task.prompt?"),
        ("+task.options.marc=x", "shout.Shout: TypeError: Shout.__init__() got an unexpected keyword argument 'marc'"),
        ("measure.agree.certainly=1", "certainly"),
    ]:
        refused = cli.run(*command, typo, *MORE, cwd=folder)
        assert refused.returncode == 2, (typo, refused.stderr)
        assert words in refused.stderr
        begun = "demo: 500 texts at most"  # what only the class itself refuses is built after that line
        assert len([line for line in refused.stderr.splitlines() if not line.startswith(begun)]) == 1, refused.stderr
