"""Objects from the configuration: an error in a user's file shows its own cause, and nothing else is built."""

from pathlib import Path

import pytest

from calm_bench.build import build, require
from calm_bench.calibration import LearnThenTest, Method
from calm_bench.errors import InputError
from calm_bench.metrics.bleu import Bleu
from calm_bench.metrics.metric import Metric

BLEU = {"_target_": "calm_bench.metrics.bleu.Bleu"}


def test_a_class_below_the_base_is_built_with_its_arguments() -> None:
    assert isinstance(build(BLEU, Metric), Bleu)
    method = {
        "_target_": "calm_bench.calibration.LearnThenTest",
        "options": {"bound": "wsr"},
        "procedure": "bonferroni",
    }
    assert build(method, Method) == LearnThenTest("wsr", "bonferroni")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere_at_all", "mine.py, line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def broken(:", "mine.py, line 1: SyntaxError"),
        ("\n@dataclass\nclass Own: ...", "mine.py, line 2: NameError: name 'dataclass' is not defined"),
        ("Own = 3", "module 'mine' has no class 'Own'"),
        ("class Own: ...", "only classes below calm_bench's own are built: Method, Measure, Metric, Probe, Task"),
        (
            "from calm_bench.metrics.bleu import Bleu\nclass Own(Bleu):\n    def __init__(self):\n        1 / 0",
            "mine.py, line 4: ZeroDivisionError: division by zero",
        ),
        ("from calm_bench.calibration.methods import Naive as Own", "mine.Own: must be a Metric, a subclass of calm_b"),
    ],
)
def test_an_error_in_a_users_file_is_named_with_its_place(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    with pytest.raises(InputError) as refusal:
        build({"_target_": "mine.Own"}, Metric)
    assert words in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    "inside", [{"_target_": "pathlib.Path"}, [{"deep": {"_target_": "os.system", "command": "true"}}]]
)
def test_an_argument_can_be_nothing_else_either(inside: object) -> None:
    for refuses in (lambda: build({**BLEU, "argument": inside}, Metric), lambda: require({**BLEU, "argument": inside})):
        with pytest.raises(InputError, match=r"only classes below calm_bench's own|has no class 'system'"):
            refuses()


def test_a_module_that_is_not_there_says_where_it_is_looked_for() -> None:
    with pytest.raises(
        InputError, match=r"elsewhere.mine.Own: no module 'elsewhere'; its folder must be on PYTHONPATH"
    ):
        build({"_target_": "elsewhere.mine.Own"}, Metric)
