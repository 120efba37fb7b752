"""New promises from old records: the same arithmetic as in a run, rows only added, and no model loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from calm_bench import new_promises, summary
from calm_bench.calibration import METHODS, Method, Outcomes, Promise, Verdict
from calm_bench.config import CalibrationConfig
from calm_bench.errors import InputError
from calm_bench.metrics.bleu import Bleu
from calm_bench.metrics.chrf import ChrF
from calm_bench.metrics.metric import Metric
from calm_bench.records import losses
from calm_bench.records.store import Run
from calm_bench.stages.promise import certificates, frontier, make_promises
from calm_bench.stages.score import score, statistics
from tests import cli

WORDS = ["le", "chat", "dort", "sur", "la", "table", "et", "le", "chien", "court", "vite", "dans", "le", "jardin"]
RULES = [("full", None), ("static", 1.0), ("softmax", 0.9), ("softmax", 0.5), ("state", 0.9), ("state", 0.5)]
SETTINGS = {"textual": [0.3], "risk": [0.2], "epsilon": 0.1, "method": "ltt", "trials": 6, "fraction": 0.8, "seed": 0}
BLEU = {"_target_": "calm_bench.metrics.bleu.Bleu"}


class Never(Method):
    """A calibration method from outside the package: it accepts nothing."""

    name, guarantee = "never", "none"

    def judge(self, losses: np.ndarray, parts: np.ndarray, delta: float, epsilon: float) -> Verdict:
        return Verdict(np.zeros((len(parts), len(losses)), np.bool_), None)


class TranslationMetrics:
    """What scoring needs of a task."""

    quality, similarity = Bleu(), ChrF()


@dataclass(frozen=True)
class Tables:
    """60 examples under six rules: the lower the threshold, the more often the last words are missing."""

    rules: pd.DataFrame
    examples: pd.DataFrame
    generations: pd.DataFrame

    @property
    def parts(self) -> list[pa.Table]:
        return [pa.Table.from_pandas(self.generations, preserve_index=False)]

    def outcomes(self) -> Outcomes:
        n_rules, n_examples = len(self.rules), len(self.examples)
        return losses.outcomes_of(self.rules, losses.by_rule(self.parts, losses.COLUMNS, n_rules, n_examples))

    def promised(self, **changes: Any) -> tuple[pd.DataFrame, list[Promise]]:
        """The certificates that a run with these settings would record, and its promises."""
        settings = CalibrationConfig(**{**SETTINGS, **changes}, bootstrap_seed=0)
        promises = make_promises(self.outcomes(), settings, METHODS[settings.method])
        return certificates(promises, Bleu(), lambda rules: self.statistics(Bleu(), rules)), promises

    def statistics(self, metric: Metric, rules: Collection[int]) -> dict[int, np.ndarray]:
        return statistics(metric, self.parts, rules, self.examples)


@pytest.fixture(scope="module")
def scored() -> Tables:
    rules = pd.DataFrame(
        {
            "rule": number,
            "name": measure if threshold is None else f"{measure}@{threshold:g}",
            "kind": "adaptive" if measure in ("softmax", "state") else measure,
            "measure": measure if measure in ("softmax", "state") else None,
            "threshold": threshold if measure in ("softmax", "state") else None,
            "decay": "none",
            "first_layer": 1,
            "last_layer": 1 if measure == "static" else 8,
            "state_copying": "exit_state",
            "drafts": None,
        }
        for number, (measure, threshold) in enumerate(RULES)
    )
    texts = [" ".join(WORDS[(example + k) % len(WORDS)] for k in range(8)) for example in range(60)]
    references = [[text, text.upper()] for text in texts]
    examples = pd.DataFrame(
        {
            "example": range(60), "id": [f"e{example}" for example in range(60)], "split": "test", "cluster": None,
            "source": texts, "references": references, "n_source_tokens": 9, "n_target_tokens": 9,
        }
    )  # fmt: skip
    rows = []
    for example, text in enumerate(texts):
        for number in range(len(RULES)):
            words = text.split()[: 8 - (number if (example + number) % 4 == 0 else 0)]
            rows.append(
                {
                    "example": example, "rule": number, "prediction": " ".join(words), "n_tokens": 9,
                    "mean_exit_layer": 8.0 - number, "flops": 9.0 - number, "flops_elbayad": 9.0 - number,
                }
            )  # fmt: skip
    generations = pd.DataFrame(rows)
    answers = [references[example] for example in generations["example"]]
    task = TranslationMetrics()
    scores = score(generations, answers, 0, task)  # type: ignore[arg-type]
    return Tables(rules, examples, pd.concat([generations, scores], axis=1))


@pytest.fixture
def run(tmp_path: Path, scored: Tables) -> Run:
    """A finished run on those texts, made by the stages of the main command."""
    promised, promises = scored.promised()
    config = {"calibration": SETTINGS, "task": {"quality": BLEU}}
    record = Run.create(tmp_path / "runs", "demo-1", config, name="demo", seed=0)
    for name in ("rules", "examples", "generations"):
        record.write(name, getattr(scored, name))
    record.write("certificates", promised)
    quality = scored.statistics(Bleu(), range(len(RULES)))
    points = frontier(scored.outcomes(), np.ones((len(RULES), 60)), Bleu(), quality, 0)
    record.write("frontier", points.assign(seconds=None, speedup=None, speedup_low=None, speedup_high=None))
    words = [promise.certificate.promise for promise in promises]
    record.finish(words, n=60, layers=8, quality="BLEU", similarity="chrF", speed=[])
    return record


def again(run: Run, *options: str) -> list[str]:
    return new_promises.add(run, new_promises.settings_of(run, new_promises.parse(options)))


def recorded(run: Run) -> pd.DataFrame:
    return Run.open(run.path).read("certificates")


def test_without_a_change_nothing_is_added(run: Run) -> None:
    before = {path.name: path.read_bytes() for path in run.path.glob("*.*")}
    printed = again(run)
    assert printed[-2] == "promises added: 0, there before: 6; rows added: 0"
    assert printed[-1] == f"run: {run.path}"
    assert {path.name: path.read_bytes() for path in run.path.glob("*.parquet")}.items() <= before.items()
    assert Run.open(run.path).info == run.info


def test_rows_equal_those_of_a_run_with_these_settings(run: Run, scored: Tables) -> None:
    before = recorded(run)
    again(run, "calibration.risk=[0.02,0.3]", "calibration.method=ucb", "calibration.epsilon=0.2")
    after = recorded(run)
    pd.testing.assert_frame_equal(after[: len(before)], before)

    expected, promises = scored.promised(risk=[0.02, 0.3], method="ucb", epsilon=0.2)
    added = after[len(before) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(added, expected, check_dtype=False)
    assert added["test_score"].nunique() > 5
    assert Run.open(run.path).info["promises"][6:] == [promise.certificate.promise for promise in promises]


def test_only_what_lacks_is_added(run: Run) -> None:
    printed = again(run, "calibration.risk=[0.2,0.25]", "calibration.trials=8")
    rows = recorded(run)
    assert printed[-2] == "promises added: 3, there before: 6; rows added: 39"
    assert not rows.duplicated([*new_promises.PROMISE, "trial"]).any()
    sizes = rows[rows["trial"].notna()].groupby(["objective", "delta", "measure"]).size()
    assert set(sizes) == {8}
    again(run, "calibration.risk=[0.2,0.25]", "calibration.trials=8")
    pd.testing.assert_frame_equal(recorded(run), rows)


def test_more_trials_go_on_with_the_same_splits(run: Run, scored: Tables) -> None:
    again(run, "calibration.trials=9")
    once, _ = scored.promised(trials=9)
    keys = [*new_promises.PROMISE, "trial"]
    found, expected = (
        frame[frame["trial"].notna()].sort_values(keys).reset_index(drop=True) for frame in (recorded(run), once)
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_the_answer_names_the_method_and_epsilon_only_where_it_is_promised(run: Run) -> None:
    naive = again(run, "calibration.method=naive", "calibration.textual=[]", "calibration.epsilon=0.1")
    assert naive[3].startswith("risk δ = 0.2: ")
    assert "promised by naive: nothing about later texts" in naive
    own = [line for line in summary.lines(Run.open(run.path)) if line.startswith("promised by")]
    assert own == ["promised by ltt: each by itself, ε = 0.1; together they hold less surely (calibration.joint=true)"]


def test_what_is_there_already_is_not_shown_again(run: Run) -> None:
    assert not [line for line in again(run) if line.startswith("textual")]


def test_figures_that_are_there_are_drawn_anew_where_promises_are_new(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(new_promises.drawing, "draw", lambda record: drawn.append(len(record.info["promises"])))
    before = len(run.info["promises"])
    new_promises.main([str(run.path), "calibration.risk=[0.25]"])
    assert drawn == []  # the run has none
    (run.path / "figures").mkdir()
    new_promises.main([str(run.path), "calibration.risk=[0.25]"])
    assert drawn == []  # nothing is new
    new_promises.main([str(run.path), "calibration.risk=[0.26]"])
    assert len(drawn) == 1
    assert drawn[0] > before
    assert capsys.readouterr().out.splitlines()[-1] == f"run: {run.path}"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("calibration.epsilom=0.1", "calibration.epsilom: no such option (did you mean calibration.epsilon?)"),
        ("limit=3", "limit: no such option"),
        ("calibration=paper", "calibration: no such option"),
        ("+calibration.more=1", "calibration.more: no such option"),
        ("calibration.risk=[0.1", "see --help"),
        ("calibration.epsilon=0.1,0.2", "one value at a time"),
        ("calibration.epsilon=warm", "calibration.epsilon=warm must be a number"),
        ("calibration.epsilon=${nowhere}", "calibration.epsilon=${nowhere}: Interpolation key 'nowhere' not found"),
        ("calibration.textual=[1.1]", "calibration.textual=1.1 must be above 0 and below 1"),
        ("calibration.method=best", "calibration.method='best' must be one of ltt, ucb, crc, naive"),
        ("calibration.seed=1", "calibration.seed=1 must stay 0"),
        ("calibration.fraction=0.5", "calibration.fraction=0.5 must stay 0.8"),
    ],
)
def test_options_are_refused_in_one_line(run: Run, option: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        again(run, option)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_only_finished_runs_are_certified(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    other = run.path.with_name("other")
    shutil.copytree(run.path, other)
    Run.open(other).mark("interrupted")
    before = run.read("certificates")
    for arguments in ([str(run.path), str(other)], [str(run.path), "nowhere"], []):
        with pytest.raises(SystemExit, match="2"):
            new_promises.main([*arguments, "calibration.risk=[0.3]"])
        assert len(capsys.readouterr().err.splitlines()) == 1
    pd.testing.assert_frame_equal(run.read("certificates"), before)


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ({"_target_": "os.system", "command": "touch here"}, "os.system is code from outside"),
        ({"_target_": "strangers.Metric"}, "strangers.Metric is code from outside, which a record may not name"),
        ({**BLEU, "max_ngram_order": {"_target_": "pathlib.Path.touch"}}, "pathlib.Path.touch is code from outside"),
        ({**BLEU, "more": [{"of": {"_target_": "shutil.rmtree", "path": "."}}]}, "shutil.rmtree is code from outside"),
        ({"_target_": "calm_bench.metrics.bleu.Blue"}, "has no class 'Blue'"),
        ({"_target_": "calm_bench.metrics.bleu.BLEU"}, "only classes below calm_bench's own are built"),
    ],
)
def test_a_record_can_name_nothing_but_a_metric_of_the_suite(
    run: Run, quality: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module is not even imported, however deep it is named, unless the user lets it in by name."""
    (tmp_path / "strangers.py").write_text(
        "from calm_bench.metrics.bleu import Bleu as Metric\nopen(__file__ + '.ran', 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run.info["config"]["task"]["quality"] = quality
    run.mark("finished")
    with pytest.raises(InputError, match=words):
        again(run, "calibration.risk=[0.3]")
    assert not list(tmp_path.glob("*.ran"))
    if quality["_target_"] == "strangers.Metric":
        new_promises.main([str(run.path), "calibration.risk=[0.3]", "--allow", "strangers"])
        assert list(tmp_path.glob("*.ran"))


def test_a_method_from_outside_needs_the_users_word(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    method = "calibration.method={_target_: tests.test_certify.Never}"
    with pytest.raises(SystemExit):
        new_promises.main([str(run.path), method])
    assert "tests.test_certify.Never is code from outside" in capsys.readouterr().err
    new_promises.main([str(run.path), method, "--allow", "tests.test_certify"])
    certificates = recorded(run)
    own = certificates[certificates["method"] == "never"]
    assert len(own)
    assert (own["rule"] == 0).all()
    assert set(own["guarantee"]) == {"none"}


def test_an_incomplete_generations_table_is_refused(scored: Tables) -> None:
    with pytest.raises(InputError, match="1 of 360 texts are missing"):
        replace(scored, generations=scored.generations.drop(index=7)).outcomes()
    with pytest.raises(InputError, match="a rule or an example that the record does not describe"):
        replace(scored, examples=scored.examples[:-1]).outcomes()
    with pytest.raises(InputError, match="one must be the full model"):
        replace(scored, rules=scored.rules.assign(kind="static")).outcomes()


@pytest.mark.slow
def test_the_command_on_a_real_record(tiny_checkpoint: Path, tmp_path: Path) -> None:
    short = [f"model.path={tiny_checkpoint}", "limit=30", "task.max_new_tokens=8", *cli.QUICK]
    done = cli.run(*short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = done.stdout.splitlines()[-1].removeprefix("run: ")
    before = Run.open(tmp_path / folder)

    program = (
        "import sys\n"
        "from calm_bench.new_promises import main\n"
        "main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    options = ["calibration.risk=[0.03,0.3]", "calibration.textual=[]"]
    words = [sys.executable, "-c", program, folder, *options]
    subprocess.run(words, cwd=tmp_path, env=cli.environment(), check=True)
    assert len(Run.open(before.path).read("certificates")) == (4 + 2) * 5 * 6

    done = cli.run(folder, "calibration.epsilon=0.2", cwd=tmp_path, module="calm_bench.certify")
    assert done.returncode == 0, done.stderr
    assert "promises added: 20, there before: 0" in done.stdout
    assert done.stdout.splitlines()[-1] == f"run: {folder}"
    assert len(json.loads((tmp_path / folder / "run.json").read_text())["promises"]) == 20 + 10 + 20

    program = "import sys; from calm_bench.__main__ import main; main(); assert 'torch' not in sys.modules"
    words = [sys.executable, "-c", program, *short]  # a finished run is recognised before torch is imported
    again = subprocess.run(words, cwd=tmp_path, env=cli.environment(), check=True, capture_output=True, text=True)
    assert "finished before" in again.stderr
    assert again.stdout.splitlines()[-1] == f"run: {folder}"
