"""examples/speed/: the seconds of a shape, with random weights."""

import importlib
import json
import sys
from pathlib import Path

import pytest


def run(name: str, arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python examples/speed/NAME.py ARGUMENTS`."""
    monkeypatch.syspath_prepend("examples/speed")
    monkeypatch.setattr(sys, "argv", [name, *(word for pair in arguments.items() for word in pair)])
    importlib.import_module(name).main()


@pytest.mark.slow
def test_a_shape_is_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"--shape": "tiny", "--source": "20", "--tokens": "8", "--repeats": "2", "--layers": "1.5"}
    run("shape", arguments, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in lines if line}
    assert {"full", "static@1", "static@2"} <= set(found)
    assert any(name.startswith("softmax@") for name in found)
    peer = next(line for line in lines if line.startswith("CTranslate2 float32"))
    assert peer.endswith("100.0%"), "its texts are those of our full depth"


@pytest.mark.slow
def test_what_a_gpu_is_asked_runs_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"--source": "8", "--tokens": "4", "--batch": "2", "--repeats": "1"}
    where = {"--device": "cpu", "--shapes": "tiny", "--out": str(tmp_path / "times.json")}
    run("gpu", sizes | where, monkeypatch)
    printed, kept = capsys.readouterr().out, json.loads((tmp_path / "times.json").read_text())
    texts, grids = kept["tiny"], kept["grids"]
    assert {"full", "static 1", "softmax, leaving at 2", "state, adaptive"} <= {row["what"] for row in texts}
    assert all(row["n_tokens"] == 4 for row in texts if row["arm"] in ("rule", "generate(), static cache"))
    assert {row["arm"]: row["mean_exit_layer"] for row in grids}["full"] == 8
    for name in ("all 67 rules", "mlp_classifier, never leaving", "generate(), static cache"):
        assert name in printed
