"""The paper's three experiments on real data, from training a small model to certificates, each by one command."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from calm_bench import compose as composing
from calm_bench.records.logged import curves
from calm_bench.records.store import Run
from tests import cli

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[2] / "shared" / "data"
TRAIN = [
    "model=from_scratch",
    "model.scratch.vocab_size=600",
    "model.scratch.d_model=32",
    "model.scratch.d_kv=8",
    "model.scratch.d_ff=48",
    "model.scratch.num_layers=2",
    "model.scratch.num_decoder_layers=3",
    "training.steps=4",
    "training.batch_size=8",
    "training.evaluate_every=2",
    "training.evaluate_examples=4",
    "training.classifier_steps=2",
    "training.mlp_classifier_steps=2",
    "training.mlp_classifier_sources=8",
    "training.workers=0",
]
EXPERIMENT_FILES = sorted((composing.config_dir() / "experiment").glob("*.yaml"))
SHORT = ["limit=6", "task.max_source_tokens=128", "task.max_new_tokens=8", "device=cpu", *cli.QUICK]
EXPERIMENTS = [
    ("cnndm", "cnndm", None, ("ROUGE-Lsum", "ROUGE-Lsum")),
    ("squad", "squad", None, ("F1", "F1")),
    ("wmt15_enfr", "newstest2014_enfr", "multi30k_enfr", ("BLEU", "chrF")),
]


def heads(name: str, folder: Path) -> Path:
    """The first rows of each file of a real data set, so that the tokenizer and the first step come quickly."""
    source = SHARED / name
    if not source.is_dir():
        pytest.skip(f"{source} is not here: real data that may not be copied into the repository")
    (folder / name).mkdir()
    for file in source.glob("*.parquet"):
        pd.read_parquet(file).head(120).to_parquet(folder / name / file.name)
    return folder / name


@pytest.mark.parametrize(("experiment", "data", "training_data", "metrics"), EXPERIMENTS)
def test_the_papers_tasks(
    experiment: str, data: str, training_data: str | None, metrics: tuple[str, str], tmp_path: Path
) -> None:
    places = [f"task.path={heads(data, tmp_path)}"]
    if training_data:
        refused = cli.run(f"+experiment={experiment}", *places, *TRAIN, *SHORT, cwd=tmp_path)
        assert refused.returncode == 2
        assert "no train split" in refused.stderr
        assert "training.path=DIR" in refused.stderr
        places.append(f"training.path={heads(training_data, tmp_path)}")
    done = cli.run(f"+experiment={experiment}", *places, *TRAIN, *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run.open(tmp_path / done.stdout.splitlines()[-1].removeprefix("run: "))
    assert (run.info["summary"]["quality"], run.info["summary"]["similarity"]) == metrics
    assert len(run.read("certificates")) == 4 * (len(cli.MEASURES) + 1) * 6  # and the static baseline
    falling = () if experiment == "squad" else ("softmax", "classifier")
    tau = {measure: 4 if measure in falling else 0 for measure in cli.MEASURES}
    decays = run.read("rules").drop_duplicates("measure").set_index("measure")["decay"]
    assert {measure: decays[measure] for measure in cli.MEASURES} == {
        measure: f"additive(tau={value})" for measure, value in tau.items()
    }

    trained = next(tmp_path.glob("runs/stages/train-*/model"))
    given = curves(run)  # to W&B
    validated = [entry for entry in given["training"] if "score" in entry]
    assert [entry["step"] for entry in validated] == [2, 4]
    assert all(f"loss/layer_{layer}" in entry for entry in validated for layer in (1, 2, 3))
    assert [entry["step"] for entry in given["training"] if "learning_rate" in entry] == [1, 2, 3, 4]
    assert [entry["step"] for entry in given["classifier_training"] if "validation_loss" in entry] == [1, 2]
    assert not list(trained.parent.glob("checkpoints"))
    again = cli.run(
        f"+experiment={experiment}", places[0], "training=none", f"model.path={trained}", *SHORT, cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr[-3000:]
    loaded = Run.open(tmp_path / again.stdout.splitlines()[-1].removeprefix("run: "))
    pd.testing.assert_frame_equal(loaded.read("tokens"), run.read("tokens"))


def test_the_demo_mirrors_to_wandb_offline(tmp_path: Path) -> None:
    done = cli.run("limit=12", "timing.examples=2", "timing.executor=grid", "tracking.mode=offline", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wandb sync" in done.stderr
    assert list(tmp_path.glob("runs/*/wandb/wandb/offline-run-*/*.wandb")) or list(
        tmp_path.glob("runs/*/wandb/offline-run-*/*.wandb")
    )
    assert "report: " in done.stdout
    assert list(tmp_path.glob("runs/demo-*/figures/index.html"))
    run = Run.open(next(tmp_path.glob("runs/demo-*")))
    timings, rules = run.read("timings"), run.read("rules").set_index("rule")
    assert "full" in set(rules.loc[timings["rule"], "kind"])
    assert (timings["seconds"] > timings["encoder_seconds"]).all()
    drafts = timings["rule"].map(rules["kind"]) == "speculative"
    assert set(timings.loc[~drafts, "executor"]) == {"grid"}
    assert set(timings.loc[drafts, "executor"]) == {"speculative"}
    (key,) = tmp_path.glob("runs/stages/decode-*/key.json")
    assert {"executors": ["grid"], "device": "cpu"}.items() <= json.loads(key.read_text()).items()


@pytest.mark.parametrize("file", sorted((composing.config_dir() / "experiment").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_experiment_composes_and_says_how_to_run_it(file: Path) -> None:
    assert f"python -m calm_bench +experiment={file.stem}" in file.read_text()
    composing.register()
    with initialize_config_dir(str(composing.config_dir()), version_base="1.3"):
        config = composing.resolve(compose("config", [f"+experiment={file.stem}"]))
    assert config.name == file.stem
