"""`python -m calm_bench.sweep`: which trials a file gives, how they are started, and what became of them."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from calm_bench.errors import InputError
from calm_bench.records.store import Run
from calm_bench.sweep import command as sweep
from calm_bench.sweep import file as sweep_file
from calm_bench.sweep import trials
from tests import cli

GRID = {
    "program": "calm_bench",
    "method": "grid",
    "parameters": {
        "measure": {"values": ["[softmax]", "[state]"]},
        "seed": {"min": 0, "max": 1},
        "limit": {"value": 3},
    },
    "command": ["${env}", "python", "-m", "${program}", "${args_no_hyphens}"],
}


def written(folder: Path, **changes: Any) -> Path:
    content = {**GRID, **changes}
    path = folder / "mine.yaml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None}, sort_keys=False)
    )
    return path


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    file = sweep_file.read(written(tmp_path))
    assert list(trials.grid(file)) == [
        {"measure": measure, "seed": seed, "limit": 3}
        for measure, seed in itertools.product(["[softmax]", "[state]"], [0, 1])
    ]


@pytest.mark.parametrize(
    "macro",
    [
        "args",
        "args_no_equals",
        "args_no_hyphens",
        "args_no_boolean_flags",
        "args_json",
        "args_append_hydra",
        "args_override_hydra",
    ],
)
def test_the_command_line_is_the_agents(macro: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTRA", "three")
    values = {"force": True, "a.b": False, "threshold.tau": 1e-5, "measure": "[softmax,state]", "limit": 3}
    words = ["${env}", "${interpreter}", "-m", "${program}", "one", "x=${envvar:EXTRA}", f"${{{macro}}}"]
    file = sweep_file.read(written(tmp_path, command=words))
    theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    assert trials.argv(file, values) == [
        "/usr/bin/env", "python", "-m", "calm_bench", "one", "x=three", *theirs[macro]
    ]  # fmt: skip


def test_random_draws_are_the_seeds_own_and_keep_their_bounds(tmp_path: Path) -> None:
    parameters = {
        "i": {"min": 1, "max": 4},
        "u": {"min": 0.0, "max": 8.0},
        "g": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
        "c": {"values": ["a", "b"], "probabilities": [0.9, 0.1]},
        "n": {"distribution": "normal", "mu": 5, "sigma": 0.1},
        "one": {"value": 7},
    }
    file = sweep_file.read(written(tmp_path, method="random", parameters=parameters))
    drawn, again, other = (list(itertools.islice(trials.random(file, seed), 400)) for seed in (0, 0, 1))
    assert drawn == again
    assert drawn != other
    column = {name: [values[name] for values in drawn] for name in parameters}
    assert set(column["i"]) == {1, 2, 3, 4}
    assert set(column["q"]) == {0, 0.25, 0.5, 0.75, 1}
    assert set(column["one"]) == {7}
    assert column["c"].count("a") > 300
    assert 0 <= min(column["u"]) < 1 < 7 < max(column["u"]) <= 8
    assert 1e-5 <= min(column["g"]) < 1e-4 < 1e-3 < max(column["g"]) <= 1e-2
    assert np.mean(column["n"]) == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "gird"}, "method='gird' must be one of grid, random, bayes"),
        ({"parameters": None}, "parameters: at least one is needed"),
        ({"parameters": {"seed": 3}}, "parameters.seed=3 must say value, values, or min and max"),
        ({"parameters": {"seed": {"values": []}}}, "parameters.seed.values=[] must be a list of at least one value"),
        ({"parameters": {"seed": {"values": [0, None]}}}, "write the text 'null'"),
        ({"parameters": {"threshold": {"parameters": {"tau": {"value": 1}}}}}, "no nested parameters"),
        ({"parameters": {"measure": {"values": ["softmax,state"]}}}, "cannot be passed to Hydra"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "a grid needs value, values, or integer min and max"),
        ({"parameters": {"a": {"min": 3, "max": 1}}}, "min=3, max=1 must be numbers, min below max"),
        ({"parameters": {"a": {"distribution": "cauchy"}}}, "distribution=cauchy must be one of"),
        ({"command": ["python", "-m", "calm_bench"]}, "every trial would run the defaults"),
        ({"command": "python ${args}"}, "must be a list of words"),
        ({"method": "bayes"}, "metric: method bayes needs one"),
        ({"run_cap": 0}, "run_cap=0 must be an integer of at least 1"),
        ({"command": ["python", "${argz}", "${args}"]}, "${argz} is not known here"),
        ({"method": "random"}, "--count: method random has no end of its own"),
    ],
)
def test_a_bad_file_is_one_line(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        sweep.main([str(written(tmp_path, **changes)), "--dry-run"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calm-bench: ")
    assert words in line


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "not YAML"), ("- a", "must be a mapping"), (None, "No such file")]
)
def test_what_is_no_sweep_file_is_one_line(
    text: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        sweep.main([str(tmp_path / "mine.yaml")])
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize(
    "command", [["touch", "there", "${args}"], ["python", "-c", "open('there', 'w')", "${args}"], ["env", "${args}"]]
)
def test_a_file_may_start_calm_bench_alone(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        sweep.main([str(written(tmp_path, command=command))])
    assert f"command: it starts {[*command, '--measure=[softmax]'][:1]}"[:-1] in capsys.readouterr().err
    assert not (tmp_path / "there").exists()


def test_a_dry_run_prints_the_commands_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        sweep.main([str(written(tmp_path)), "--dry-run", "--count", "2", "runs_dir=there"])
    assert capsys.readouterr().out.splitlines() == [
        "/usr/bin/env python -m calm_bench 'measure=[softmax]' seed=0 limit=3 runs_dir=there",
        "/usr/bin/env python -m calm_bench 'measure=[softmax]' seed=1 limit=3 runs_dir=there",
    ]


PROGRAM = """
import json, os, sys
from pathlib import Path
words = dict(word.split("=") for word in sys.argv[1:])
names = ["WANDB_RUN_GROUP", "WANDB_SWEEP_ID"]
line = json.dumps({**words, "python": sys.executable, **{name: os.environ.get(name) for name in names}})
with Path("trials").open("a") as file:
    file.write(line + "\\n")
if words["seed"] == "1":
    sys.exit("the reason")
"""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_trial_that_fails_is_named_and_the_others_run(
    jobs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    command = ["${env}", "${interpreter}", "-c", PROGRAM, "${args_no_hyphens}"]
    with pytest.raises(SystemExit, match="1"):
        sweep.main([str(written(tmp_path, command=command)), "--jobs", jobs, "--any-command"])
    ran = [json.loads(line) for line in (tmp_path / "trials").read_text().splitlines()]
    assert sorted((trial["measure"], trial["seed"]) for trial in ran) == [
        ("[softmax]", "0"),
        ("[softmax]", "1"),
        ("[state]", "0"),
        ("[state]", "1"),
    ]
    assert {Path(trial["python"]).parent for trial in ran} == {Path(sys.executable).parent}
    assert {(trial["WANDB_RUN_GROUP"], trial["WANDB_SWEEP_ID"]) for trial in ran} == {("mine", None)}
    said = capsys.readouterr().err
    assert "4 trials, 2 failed" in said
    assert said.count("FAILED") == 2
    assert said.count(" left)\n") == 4 - int(jobs)  # by the trials that have ended
    assert "status 1 the reason" in said or jobs == "1"  # one at a time, its errors are on the terminal already


PACKAGE = """
class RunState:
    finished, failed = "finished", "failed"

class SweepRun:
    def __init__(self, config, state=None, summary_metrics=None):
        self.config, self.state, self.summary_metrics = config, state, summary_metrics

def next_run(config, runs):
    seen = [(run.config["seed"]["value"], run.state, run.summary_metrics) for run in runs]
    print("seen", seen)
    return SweepRun({"seed": {"value": 3 * len(runs)}})
"""


def test_bayes_needs_its_package_and_tells_it_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = {"name": "certified/softmax/textual_10pct/layers", "goal": "minimize"}
    path = written(tmp_path, method="bayes", metric=metric, run_cap=5)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "sweeps").mkdir()  # a folder of that name, as a checkout has one, is not the package
    with pytest.raises(InputError, match="needs W&B's `sweeps` package"):
        trials.propose(sweep_file.read(path), 0)
    (tmp_path / "sweeps" / "__init__.py").write_text(PACKAGE)
    monkeypatch.delitem(sys.modules, "sweeps", raising=False)
    following = trials.propose(sweep_file.read(path), 0)
    assert following([]) == {"seed": 0}
    assert following([({"seed": 0}, 2.5), ({"seed": 3}, None)]) == {"seed": 6}
    seen = [(0, "finished", {metric["name"]: 2.5}), (3, "failed", {})]
    assert capsys.readouterr().out.splitlines()[-1] == f"seen {seen}"


WAITS = """
import signal, sys, time
from pathlib import Path
number = sys.argv[1].split("=")[1]
def close(*_):
    if number == "0":  # the other one takes no notice
        Path("closed").touch()
        sys.exit(143)
signal.signal(signal.SIGTERM, close)
Path(f"started{number}").touch()
while True:
    time.sleep(0.05)
"""


def test_a_sweep_in_the_background_ends_its_trials_on_sigterm(tmp_path: Path) -> None:
    file = written(
        tmp_path, parameters={"seed": {"values": [0, 1]}}, command=["python", "-c", WAITS, "${args_no_hyphens}"]
    )
    code = "from calm_bench.sweep import command as sweep; sweep.STOP_SECONDS = 2.0; sweep.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file), "--jobs", "2", "--any-command"],
        cwd=tmp_path,
        env=cli.environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does for `COMMAND &`
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("started*"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert (tmp_path / "closed").exists()
    assert err.splitlines()[-2:] == [
        "trial 2 did not end within 2 s and was killed",
        "calm-bench: terminated; the same command goes on from where it was",
    ]


def test_a_trial_without_the_metric_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "scalars", lambda _: {"full_score": 1.0})
    file = sweep_file.read(written(tmp_path, metric={"name": "certified/x", "goal": "minimize"}))
    record = Run.create(tmp_path / "runs", "one", {}, name="demo", seed=0)
    assert sweep._metric(file, record) is None
    assert "metric.name=certified/x" in capsys.readouterr().err


@pytest.mark.slow
def test_a_half_done_sweep_goes_on(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = written(tmp_path, parameters={"measure": {"values": ["[softmax]", "[state]"]}})
    shared = [f"model.path={tiny_checkpoint}", "limit=3", "task.max_new_tokens=6", "baselines=[]", *cli.QUICK]
    first = cli.run(str(file), *shared, "--count", "1", cwd=tmp_path, module="calm_bench.sweep")
    assert first.returncode == 0, first.stderr
    assert "1 trials, 0 failed" in first.stderr
    (record,) = tmp_path.glob("runs/*/run.json")
    written_at = record.stat().st_mtime_ns
    rest = cli.run(str(file), *shared, "--jobs", "2", cwd=tmp_path, module="calm_bench.sweep")
    assert rest.returncode == 0, rest.stderr
    assert "2 trials, 0 failed" in rest.stderr
    assert "ranking of 2 runs by layers at the certified promises" in rest.stdout
    runs = [Run.open(path.parent) for path in tmp_path.glob("runs/*/run.json")]
    assert sorted(next(iter(run.info["config"]["measure"])) for run in runs) == ["softmax", "state"]
    assert {run.status for run in runs} == {"finished"}
    assert record.stat().st_mtime_ns == written_at
