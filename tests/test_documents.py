"""What README.md, docs/ and the notebook print runs: their Python on a small record, and their commands as far as a
machine without network, GPU or account can go. Commands that decode are composed, which refuses a wrong word as a run
would before it loads anything; tests/test_extending.py runs those of docs/extending.md.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests import cli
from tests.composed import composed

NOTEBOOK = "examples/first_look.ipynb"
PAGES = [cli.ROOT / "README.md", cli.ROOT / "CONTRIBUTING.md", cli.ROOT / "calm_bench/assets/README.md"]
PAGES += sorted((cli.ROOT / "docs").glob("*.md"))
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ELSEWHERE = (
    "git clone",
    "cd ",
    "wandb sync",
    ".venv/bin/python -m build",
)  # a server's, a shell's, tests/test_packaging.py
MADE = ["limit=48", "measure=[softmax]", "threshold.grid=[0.9,0.5,0.1]", "calibration.risk=[0.3]", *cli.QUICK]


def commands(page: Path) -> Iterator[str]:
    """Every command of the page's blocks, without its comment, and every one that a sentence names."""
    text = page.read_text(encoding="utf-8")
    for kind, block in FENCED.findall(text):
        if kind == "sh" and "cd examples/extending" not in block:
            for line in block.replace("\\\n", " ").splitlines():
                yield from (" ".join(part.split()) for part in line.partition(" #")[0].split("&&"))
    for span in re.findall(r"`([^`]+)`", FENCED.sub("", text)):
        words = " ".join(span.split())
        if re.match(r"\+experiment=\w", words):
            yield f"python -m calm_bench {words}"
        elif re.match(r"(\w+=\w+ )?(\S*python -m|python|torchrun|wandb|make) ", words) and "..." not in words:
            yield words


def starting(*beginnings: str) -> list[str]:
    return sorted({command for page in PAGES for command in commands(page) if command.startswith(beginnings)})


RUNS = (
    "python -m calm_bench ",
    "OMP_NUM_THREADS=1 python -m calm_bench ",
    "torchrun --nproc_per_node=4 -m calm_bench ",
)
CERTIFY, SWEEP, ANALYSE = "python -m calm_bench.certify ", "python -m calm_bench.sweep ", "python -m analysis "
SCRIPT, AGENT = "python examples/", ("wandb sweep", "wandb agent")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which a demo of a few texts has run."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("calm_bench", "sweeps", "examples"):
        (folder / name).symlink_to(cli.ROOT / name)
    done = cli.run(*MADE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_is_of_a_kind_that_is_tried_here() -> None:
    kinds = ("python -m calm_bench", *RUNS, CERTIFY, SWEEP, ANALYSE.strip(), SCRIPT, *AGENT, "make ", *ELSEWHERE)
    for page in PAGES:
        assert [command for command in commands(page) if not command.startswith(kinds)] == [], page.name


@pytest.mark.parametrize("command", starting(*RUNS))
def test_a_run_composes(command: str) -> None:
    words = [word for word in shlex.split(command.partition("calm_bench ")[2]) if word not in ("-m", "--help")]
    given = OverridesParser.create().parse_overrides(words)
    swept = {one.key_or_group: list(one.sweep_string_iterator()) for one in given if one.is_sweep_override()}
    plain = [word for word, one in zip(words, given, strict=True) if not one.is_sweep_override()]
    for values in zip(*swept.values(), strict=False) if swept else [()]:
        composed(*plain, *(f"{key}={value}" for key, value in zip(swept, values, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("command", starting(CERTIFY))
def test_new_promises_from_the_record(checkout: Path, command: str) -> None:
    (run,) = (checkout / "runs").glob("demo-*")
    words = [str(run) if re.search(r"\bRUN", word) else word for word in shlex.split(command.removeprefix(CERTIFY))]
    done = cli.run(*words, cwd=cli.ROOT / "examples/extending", module="calm_bench.certify")
    assert done.returncode == 0, done.stderr
    assert str(run) in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", starting(SWEEP))
def test_a_sweep_lists_its_trials(checkout: Path, command: str) -> None:
    words = shlex.split(command.removeprefix(SWEEP).replace("FILE", "sweeps/demo.yaml"))
    done = cli.run(*words, "--dry-run", cwd=checkout, module="calm_bench.sweep")
    assert done.returncode == 0, done.stderr
    assert "calm_bench" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", starting(ANALYSE))
def test_the_record_is_drawn(checkout: Path, tmp_path: Path, command: str) -> None:
    words = shlex.split(command.removeprefix(ANALYSE).replace("figures/", str(tmp_path)))
    done = cli.run(*words, cwd=checkout, module="analysis")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'index.html'}"


def test_what_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (cli.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for command in starting("make ") for target in command.split()[1:]} <= targets
    for command in starting(SCRIPT):
        script = (cli.ROOT / command.split()[1]).read_text()
        assert all(f'"{option}"' in script for option in re.findall(r"--\w+", command)), command
    for command in starting(*AGENT):
        assert all((cli.ROOT / file).exists() for file in re.findall(r"\S+\.yaml", command)), command
    for page in PAGES:
        for file in re.findall(r"\]\((?!https?:|#)([^)#]+)", FENCED.sub("", page.read_text(encoding="utf-8"))):
            assert (page.parent / file).exists(), (page.name, file)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "assets" not in page.parts], ids=lambda page: page.name)
def test_python_runs(checkout: Path, page: Path) -> None:
    """But files of docs/extending.md, which stand below their name."""
    text = re.sub(
        r"`examples/extending/[^`]+`:\n\n```\w+\n.*?^```$",
        "",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    for kind, block in FENCED.findall(text):
        if kind == "python":
            process = cli.python("-c", block, cwd=checkout, env=cli.environment())
            out, err = process.communicate(timeout=120)
            assert process.wait() == 0, err
            assert out.strip(), "it prints nothing"


@pytest.mark.slow
def test_the_notebook_runs_and_holds_nothing_of_the_machine_that_wrote_it(checkout: Path) -> None:
    """Its cells, one after another; lines for IPython alone left out."""
    cells = [
        cell
        for cell in json.loads((cli.ROOT / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    lines = [line.rstrip("\n") for cell in cells for line in [*cell["source"], ""] if not line.startswith("%")]
    process = cli.python("-c", "\n".join(lines).replace("../runs", "runs"), cwd=checkout, env=cli.environment())
    out, err = process.communicate(timeout=120)
    assert process.wait() == 0, err
    assert "With probability at least 0.95" in out
    assert "gare" in out
