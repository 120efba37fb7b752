"""A measure, a task and a model from outside the package: this folder is such an outside, and the command finds it.

python -m calm_bench hydra.searchpath=[file://conf] task=shout model=mine measure=[repeat]
"""

from pathlib import Path

import pytest

from calm_bench import Decay, Rule, decode, load
from calm_bench.build import build
from calm_bench.records.rules import named
from calm_bench.records.store import Run
from calm_bench.tasks.task import Task
from tests import cli
from tests.composed import composed

HERE = Path(__file__).parent
COMMAND = [
    "hydra.searchpath=[file://conf]",
    "task=shout",
    "model=mine",
    "measure=[repeat,state]",
    "limit=5",
    *cli.QUICK,
]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    monkeypatch.setenv("MINE", str(tiny_checkpoint))
    monkeypatch.syspath_prepend(str(HERE))


@pytest.mark.usefixtures("outside")
def test_in_the_library(tiny_checkpoint: Path) -> None:
    from repeat import Repeat

    model = load(str(tiny_checkpoint))
    rules = [Rule.full(), Rule.adaptive(Repeat(certainty=0.7), 0.5, Decay("none"))]
    layers = decode(model, model.tokenize(["shout: Hello!"]), rules, 6).exit_layers[0, 1]
    assert set(layers.tolist()) <= {0, 2, 3}
    task = build(composed(f"hydra.searchpath=[file://{HERE / 'conf'}]", "task=shout").task, Task)
    assert task.mark == "!"
    assert all(e.target == e.source.removeprefix("shout: ").upper() + "!" for e in task.examples("validation", 3))


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
def test_on_the_command_line(tmp_path: Path) -> None:
    done = cli.run(*COMMAND, f"runs_dir={tmp_path}", cwd=HERE)
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run.open(Path(done.stdout.splitlines()[-1].removeprefix("run: ")))
    frontier = named(run.read("frontier"), run.read("rules"))
    assert {"repeat", "state"} < set(frontier["measure"])
    assert (frontier.query("measure == 'repeat'")["flops_reduction_t5"] > 0).all()
    assert run.read("examples")["references"].str[0].str.endswith("!").all()
    assert set(run.read("certificates")["measure"]) == {"repeat", "state"}

    other = cli.run(*COMMAND, "task.options.mark=?", f"runs_dir={tmp_path}", cwd=HERE)
    again = Run.open(Path(other.stdout.splitlines()[-1].removeprefix("run: ")))
    assert again.read("examples")["references"].str[0].str.endswith("?").all()  # decoded anew: the option is in the key


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("typo", "words"),
    [
        ("task.promt=x", "did you mean task.prompt?"),
        ("task.options.marc=x", "marc"),
        ("+task.options.marc=x", "marc"),
        ("measure.repeat.certainly=1", "certainly"),
    ],
)
def test_a_misspelt_option_of_theirs_is_refused(typo: str, words: str, tmp_path: Path) -> None:
    refused = cli.run(*COMMAND, typo, f"runs_dir={tmp_path}", cwd=HERE)
    assert refused.returncode == 2, refused.stderr
    assert words in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
