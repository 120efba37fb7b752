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
    (["calibration.epsilon=0"], "calibration.epsilon=0.0 must be above 0 and below 1"),
    (["threshold.grid=[0.5,1.2]"], "threshold.grid=1.2 must be above 0 and at most 1"),
    (["threshold.grid=[0.5,0.9]"], "must be strictly descending"),
    (["threshold=quantiles", "threshold.quantiles.split=test"], "must be another split than task.split"),
    (["threshold=quantiles", "threshold.grid=[0.5]"], "threshold.grid=[0.5] must be [] where threshold.quantiles"),
    (["+metric@task.quality=rouge1"], "write metric@task.quality=NAME, without the plus"),
    (["task._target_=pathlib.Path"], "pathlib.Path: only classes below calm_bench's own are built: Method, Measure"),
    (["+measure.mine._target_=os.system"], "os.system: module 'os' has no class 'system'"),
    (["threshold.tau=warm"], "threshold.tau=warm: Value 'warm' of type 'str' could not be converted to Float"),
    (["task=cnnmd"], "task=cnnmd: no such choice (did you mean cnndm?); allowed: cnndm, "),
    (["measure=[softmx]"], "measure=softmx: no such choice (did you mean softmax?)"),
    (["+experiment=cnn"], "experiment=cnn: no such choice"),
    (["--verbose"], "unrecognized arguments: --verbose"),
    (["experiment=cnndm"], "experiment: nothing is chosen there by default; write +experiment=cnndm"),
    (["--experiment", "cnndm"], "--experiment: options are written without dashes; write +experiment=NAME"),
    (["--limit=3"], "--limit=3: options are written without dashes; write limit=VALUE"),
    (["cnndm"], "cnndm: options are written KEY=VALUE"),
    (["seed=0,1"], "seed=0,1: write seed=[0,1] for a list, or -m as well for a run of each"),
    (["+task=cnndm"], "+task: something is chosen there already; write task=NAME, without the plus"),
    (["+experiment=cnndm"], "task: the Hugging Face hub is switched off (HF_HUB_OFFLINE), and nothing of abisee/"),
    (["model.path=/nowhere"], "model.path=/nowhere must be a save_pretrained folder; there is no such folder"),
    (["task.path=nowhere"], "task.path=nowhere must be a folder with {train,validation,test}.parquet or .jsonl"),
    (["model=from_scratch"], "a model from scratch must be trained"),
    (["model=t5_v1_1_small"], "'classifier' needs an exit classifier"),
]


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
def test_data_and_models(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """What is only seen when files are opened."""
    without_column, empty, pickle = (tmp_path / name for name in ("without_column", "empty", "pickle"))
    for folder in (without_column, empty, pickle):
        folder.mkdir()
    pd.DataFrame({"text": ["a"]}).to_parquet(without_column / "test.parquet")
    pd.DataFrame({"translation": pd.Series([], dtype=object)}).to_parquet(empty / "test.parquet")
    same = tmp_path / "same"
    same.mkdir()
    pair = pd.DataFrame({"translation": [{"en": "Go.", "fr": "Va !"}, {"en": "Run.", "fr": "Cours !"}]})
    for split in ("validation", "test"):
        pair.to_parquet(same / f"{split}.parquet")
    certified_trains = ["training=tatoeba", f"task.path={same}", f"training.path={same}", "training.split=test"]
    (pickle / "pytorch_model.bin").write_bytes(b"\x80")
    (pickle / "config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    model = f"model.path={tiny_checkpoint}"
    cases = [
        ([model, f"task.path={without_column}"], "test.parquet has no column translation (columns: text)"),
        ([model, f"task.path={empty}"], "split test is empty"),
        ([f"model.path={pickle}"], "only safetensors are read"),
        ([model, f"runs_dir={tmp_path / 'file' / 'runs'}"], "runs_dir: cannot write"),
        ([model, "threshold.min_layer=9"], "threshold.min_layer=9 must be at most 3"),
        (["+experiment=tatoeba_enfr"], "training"),
        ([model, *certified_trains], "training.split=test: 2 of the 2 examples of task.split=test stand in it too"),
        (["+experiment=cnndm"], "task.path"),
        (["+experiment=cnndm", "task=tatoeba_enfr", "training.classifier_steps=0", "measure=[softmax]"], "train"),
    ]
    for arguments, words in cases:
        _assert_refused([*arguments, *cli.QUICK, "limit=2", "device=cpu"], words, tmp_path / "runs-here")


def _assert_refused(arguments: list[str], words: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    done = cli.run(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("calm-bench: ")
    assert words in lines[-1]
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    left = [
        path for path in folder.rglob("*") if not path.name.endswith(".lock") and path.name not in ("runs", "stages")
    ]
    assert left == []
