"""examples/speed/shape.py: the seconds of a shape, with random weights."""

import importlib.util
import sys

import pytest


@pytest.mark.slow
def test_a_shape_is_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("shape", "examples/speed/shape.py")
    assert spec is not None
    assert spec.loader is not None
    shape = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shape)
    arguments = {"--shape": "tiny", "--source": "20", "--tokens": "8", "--repeats": "2", "--layers": "1.5"}
    monkeypatch.setattr(sys, "argv", ["shape.py", *(word for pair in arguments.items() for word in pair)])
    shape.main()
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in lines if line}
    assert {"full", "static@1", "static@2"} <= set(found)
    assert any(name.startswith("softmax@") for name in found)
    peer = next(line for line in lines if line.startswith("CTranslate2 float32"))
    assert peer.endswith("100.0%"), "its texts are those of our full depth"
