"""Bad input, as real processes: one clear line, exit status 2, nothing written."""

from pathlib import Path

import pandas as pd
import pytest

from tests import cli

OPTIONS = [
    (["limmit=3"], "limmit: no such option (did you mean limit?)"),
    (["+limmit=3"], "limmit: no such option (did you mean limit?)"),
    (["calibration.epsilom=0.1"], "did you mean calibration.epsilon?"),
    (["calibration.textual=[1.5]"], "calibration.textual=1.5 must be above 0 and below 1"),
    (["+metric@task.quality=rouge1"], "write metric@task.quality=NAME, without the plus"),
    (["task._target_=pathlib.Path"], "pathlib.Path: only classes below calm_bench's own are built: Method, Measure"),
    (["+measure.mine._target_=os.system"], "os.system: module 'os' has no class 'system'"),
    (["threshold.tau=warm"], "threshold.tau=warm must be a number"),
    (["limit=few"], "limit=few must be a whole number"),
    (["threshold.grid=0.5"], "threshold.grid=0.5 must be a list, in brackets"),
    (["figures=perhaps"], "figures=perhaps must be true or false"),
    (["task=cnnmd"], "task=cnnmd: no such choice (did you mean cnndm?); allowed: cnndm, "),
    (["task=3"], "task=3: no such choice; allowed: cnndm, "),
    (["model=null"], "model=null: no such choice; allowed: "),
    (["measure=[softmx]"], "measure=softmx: no such choice (did you mean softmax?)"),
    (["+experiment=cnn"], "experiment=cnn: no such choice"),
    (["--verbose"], "unrecognized arguments: --verbose"),
    (["experiment=cnndm"], "experiment: nothing is chosen there by default; write +experiment=cnndm"),
    (["--experiment", "cnndm"], "--experiment: options are written without dashes; write +experiment=NAME"),
    (["--limit=3"], "--limit=3: options are written without dashes; write limit=VALUE"),
    (["cnndm"], "cnndm: options are written KEY=VALUE (did you mean +experiment=cnndm?)"),
    (["cnnmd"], "cnnmd: options are written KEY=VALUE; see --help"),
    (["seed=0,1"], "seed=0,1: write seed=[0,1] for a list, or -m as well for a run of each"),
    (["+task=cnndm"], "+task: something is chosen there already; write task=NAME, without the plus"),
    (["+experiment=cnndm"], "task: the Hugging Face hub is switched off (HF_HUB_OFFLINE), and nothing of abisee/"),
    (["model.path=/nowhere"], "model.path=/nowhere must be a save_pretrained folder; there is no such folder"),
    (["task.path=nowhere"], "task.path=nowhere must be a folder with {train,validation,test}.parquet or .jsonl"),
    (["model=from_scratch"], "a model from scratch must be trained"),
    (["model=t5_v1_1_small"], "'classifier' needs learned weights of the very model"),
]


# Seen only when files are opened. {model} is a whole checkpoint, {bad} the folder of what is broken.
FILES = [
    (["{model}", "task.path={bad}/without_column"], "test.parquet has no column translation (columns: text)"),
    (["{model}", "task.path={bad}/empty"], "split test is empty"),
    (["model.path={bad}/pickle"], "only safetensors are read"),
    (["{model}", "runs_dir={bad}/file/runs"], "runs_dir: cannot write"),
    (["{model}", "threshold.min_layer=9"], "threshold.min_layer=9 must be at most 3"),
    (["+experiment=tatoeba_enfr"], "training"),
    (
        ["{model}", "training=tatoeba", "task.path={bad}/same", "training.path={bad}/same", "training.split=test"],
        "training.split=test: 10 of the 10 examples of task.split=test stand in it too",
    ),
    (["+experiment=cnndm"], "task.path"),
    (["+experiment=cnndm", "task=tatoeba_enfr", "training.classifier_steps=0", "measure=[softmax]"], "train"),
]
CERTIFIABLE = ["calibration.textual=[0.9]", "calibration.risk=[]"]  # by ten examples, so that no word is said of it


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    for name in ("without_column", "empty", "same", "pickle"):
        (folder / name).mkdir()
    pd.DataFrame({"text": ["a"]}).to_parquet(folder / "without_column/test.parquet")
    pd.DataFrame({"translation": pd.Series([], dtype=object)}).to_parquet(folder / "empty/test.parquet")
    pairs = pd.DataFrame({"translation": [{"en": f"Go {n}.", "fr": f"Va {n} !"} for n in range(10)]})
    for split in ("validation", "test"):
        pairs.to_parquet(folder / f"same/{split}.parquet")
    (folder / "pickle/pytorch_model.bin").write_bytes(b"\x80")
    (folder / "pickle/config.json").write_text("{}")
    (folder / "file").write_text("")
    return folder


@pytest.mark.parametrize(("arguments", "words"), OPTIONS)
def test_options(arguments: list[str], words: str, tmp_path: Path) -> None:
    _assert_refused(arguments, words, tmp_path)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "5"}, "RANK=5 is set without WORLD_SIZE"),
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE='abc' must be a number of processes, at least 1"),
        ({"WORLD_SIZE": "0", "RANK": "0", "MASTER_ADDR": "localhost"}, "WORLD_SIZE='0' must be a number of processes"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost"}, "RANK='2' must be a number below WORLD_SIZE=2"),
    ],
)
def test_processes_that_cannot_meet(
    variables: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _assert_refused([], words, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "words"), FILES)
def test_data_and_models(arguments: list[str], words: str, bad: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    given = [word.replace("{model}", f"model.path={tiny_checkpoint}").replace("{bad}", str(bad)) for word in arguments]
    _assert_refused([*given, *cli.QUICK, "limit=10", *CERTIFIABLE, "device=cpu"], words, tmp_path)


def _assert_refused(arguments: list[str], words: str, folder: Path) -> None:
    done = cli.run(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("calm-bench: ")
    assert words in lines[-1]
    assert [line for line in lines[:-1] if " texts of " not in line and " texts at most of " not in line] == []
    assert done.stdout == ""
    left = [
        path for path in folder.rglob("*") if not path.name.endswith(".lock") and path.name not in ("runs", "stages")
    ]
    assert left == []
