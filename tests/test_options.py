"""Every option declares what it may be, and what lies outside is refused in one line that names it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from calm_bench.compose import config_dir
from calm_bench.errors import InputError
from calm_bench.options import Interval, Options, Seed
from tests.composed import composed


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("threshold.tau=nan", "threshold.tau=nan must be at least 0"),
        ("threshold.tau=inf", "threshold.tau=inf must be at least 0"),
        ("task.tau.softmax=inf", "task.tau.softmax=inf must be at least 0"),
        ("task.tau.softmax=-1", "task.tau.softmax=-1.0 must be at least 0"),
        ("training.learning_rate=nan", "training.learning_rate=nan must be above 0"),
        ("training.weight_decay=inf", "training.weight_decay=inf must be at least 0"),
        ("calibration.epsilon=nan", "calibration.epsilon=nan must be above 0 and below 1"),
        ("calibration.epsilon=0", "calibration.epsilon=0.0 must be above 0 and below 1"),
        ("threshold.grid=[0.5,1.2]", "threshold.grid=1.2 must be above 0 and at most 1"),
        ("threshold.grid=[0.5,0.9]", "must be strictly descending"),
        ("threshold=quantiles threshold.quantiles.split=test", "must be another split than task.split"),
        ("threshold=quantiles threshold.grid=[0.5]", "threshold.grid=[0.5] must be [] where threshold.quantiles"),
        ("seed=-1", "seed=-1 must be at least 0 and at most 4294967295"),
        ("calibration.seed=-3", "calibration.seed=-3 must be at least 0"),
        ("calibration.bootstrap_seed=4294967296", "calibration.bootstrap_seed=4294967296 must be at least 0"),
        ("task.sample_seed=-1", "task.sample_seed=-1 must be at least 0"),
        ("baselines=[static,static]", "baselines: 'static' stands there twice"),
        ("calibration.textual=[0.1,0.1]", "calibration.textual: 0.1 stands there twice"),
        ("timing.thresholds=[0.5,0.5]", "timing.thresholds: 0.5 stands there twice"),
        ("timing.threads=1000000", "timing.threads=1000000 must be at least 1 and at most 1024"),
        ("timing.examples=-1", "timing.examples=-1 must be at least 0"),
        ("task.max_new_tokens=1000000000", "task.max_new_tokens=1000000000 must be at least 1 and at most 65536"),
        ("batch_size=0", "batch_size=0 must be at least 1"),
        ("limit=0", "limit=0 must be at least 1"),
        ("training.exit_simulation=1", "training.exit_simulation=1.0 must be at least 0 and below 1"),
        ("training.workers=100000", "training.workers=100000 must be at least 0"),
        ("training.optimizer=sgd", "training.optimizer='sgd' must be one of adafactor, adamw"),
        ("device=tpu", "device='tpu' must be one of auto, cpu, cuda"),
        ("name=''", "name='' must be letters a to z, digits"),
        ("name=../x", "name='../x' must be letters"),
        ("name=a/b", "name='a/b' must be letters"),
        ("name=.x", "name='.x' must be letters"),
        ("name='été'", "name='été' must be letters a to z"),
        ("name=stages", "name='stages' must be"),
        ("name=" + "x" * 260, "at most 64 bytes"),
        ('name="a\\nb"', "must be letters"),
        ("task.name=a/b", "task.name='a/b' must be letters"),
        ("model.name=..", "model.name='..' must be letters"),
        ("tracking.project=a/b", "tracking.project='a/b' must be"),
        ("tracking.tags=[" + "t" * 65 + "]", "at most 64 bytes"),
        ("runs_dir=" + "x" * 256, "runs_dir='xxx"),
        ("runs_dir=''", "runs_dir='' must be a path"),
        ("runs_dir=${nowhere}", "runs_dir: Interpolation key 'nowhere' not found"),
        ("runs_dir=???", "runs_dir: "),
        ("model.path=${oc.env:NOT_SET_ANYWHERE}", "model.path: "),
    ],
)
def test_what_lies_outside_is_refused(override: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        composed(*override.split())
    assert words in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("override", ["name=my.run_2-a", "runs_dir='/a b/c'", "task.prompt=''", "limit=null"])
def test_what_lies_inside_is_taken(override: str) -> None:
    composed(override)


def test_an_option_without_a_declared_type_fails_at_once() -> None:
    @dataclass
    class Group(Options, group="group"):
        known: Seed = 0
        forgotten: int = 3

    with pytest.raises(TypeError, match=r"group.forgotten: say what it may be"):
        Group()


def test_the_ends_of_an_interval() -> None:
    half = Interval(0, 1, open_low=True)
    assert [value in half for value in (0, 0.5, 1, float("nan"), float("-inf"))] == [False, True, True, False, False]


def test_declared_types_inside_lists_and_mappings_count() -> None:
    @dataclass
    class Group(Options, group=""):
        table: dict[str, list[Annotated[int, Interval(0, 3)]]]

    Group({"a": [1, 2]})
    with pytest.raises(InputError, match=r"table.a=4 must be at least 0 and at most 3"):
        Group({"a": [1, 4]})


def test_every_yaml_of_the_suite_is_inside(tmp_path: Path) -> None:
    for group in ("model", "threshold", "timing", "tracking", "calibration"):
        for file in (config_dir() / group).glob("*.yaml"):
            more = ["training=paper"] if file.stem.endswith("from_scratch") else ["measure=[softmax]"]
            composed(f"{group}={file.stem}", *more)
