"""The native library is made where it runs, once, and where it cannot be the grid serves."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calm_bench.decoding import Decoder, Rule
from calm_bench.decoding.native import build
from calm_bench.models import EarlyExitT5
from tests import cli
from tests.models_for_tests import random_sources, random_t5

LOAD = """
import logging, os, sys
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
logging.basicConfig(level="INFO")
from calm_bench.decoding.native.build import library
library()
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing loaded; the folder that the library goes to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(build, "library", build.library.__wrapped__)
    monkeypatch.setattr("calm_bench.decoding.native.executor.library", build.library)
    return tmp_path / "calm-bench"


def serving(model: EarlyExitT5, caplog: pytest.LogCaptureFixture) -> str:
    """Which executor decodes a text alone; it is decoded, and the log has one line about it."""
    decoder = Decoder(model)
    with caplog.at_level(logging.INFO):
        executor = decoder.serving(Rule.full(), alone=True)
        decoder.serving(Rule.static(1), alone=True)
    text = executor.run(executor.encode(random_sources(0, 1)), [Rule.full()], 4)
    assert text.n_tokens[0, 0] >= 1
    return executor.name


def test_it_is_compiled_once_and_said_once(fresh: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert serving(random_t5(), caplog) == "native"
    assert len(list(fresh.glob("*.so"))) == 1
    assert serving(random_t5(1), caplog) == "native"
    assert caplog.text.count("compiling") == 1


def test_without_a_compiler_the_grid_serves(
    fresh: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(fresh))
    assert serving(random_t5(), caplog) == "grid"
    assert caplog.text.count("there is no C compiler (cc) on the path") == 1


def test_a_compiler_that_fails_is_quoted(
    fresh: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "false")
    assert serving(random_t5(), caplog) == "grid"
    assert "failed with no message" in caplog.text
    assert list(fresh.glob("*.so")) == []


def test_a_cache_that_cannot_be_written(
    fresh: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.write_text("a file where the folder should be")
    assert serving(random_t5(), caplog) == "grid"
    assert caplog.text.count("cannot be used as its cache") == 1


def test_another_platform(fresh: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SYSTEMS", ("Plan 9",))
    assert serving(random_t5(), caplog) == "grid"
    assert "was written for Plan 9" in caplog.text


def test_a_model_on_another_device_is_not_its_own() -> None:
    model = random_t5().backbone.to("meta")
    reason = build_reason(model)
    assert reason is not None
    assert "runs on a CPU" in reason


def build_reason(backbone: torch.nn.Module) -> str | None:
    from calm_bench.decoding.native import Native

    return Native.unavailable(EarlyExitT5(backbone, None), torch.float32)  # type: ignore[arg-type]


def test_an_activation_that_it_does_not_know() -> None:
    model = random_t5()
    model.backbone.config.dense_act_fn = "silu"
    assert "relu or gelu_new" in str(build_reason(model.backbone))


def test_the_library_follows_sources_flags_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    key = build.key(["-O3"])
    assert build.key(["-O3"]) == key != build.key(["-O2"])
    monkeypatch.setattr(build, "processor", lambda: "another")
    assert build.key(["-O3"]) != key


@pytest.mark.slow
def test_many_processes_start_at_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")  # which would cost a true start of each
    words = ["-c", LOAD, str(fresh.parent)]
    started = [cli.python(*words, cwd=fresh.parent, env=cli.environment()) for _ in range(4)]
    said = [process.communicate(timeout=500)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    assert sum("compiling" in words for words in said) == 1
    assert len(list(fresh.glob("*.so"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["aarch64-macos", "x86_64-macos -c", "aarch64-linux-gnu -c", "x86_64-linux-gnu -mcpu=x86_64_v3 -c"]
)
def test_it_compiles_for_other_machines(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is linked as well, which takes five times as long: first of all zig compiles a C library for it."""
    pytest.importorskip("ziglang")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig"))
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", *target.split()]
    path = tmp_path / "native.so"
    build.compile_library([*zig, *build.FLAGS, "-Wall", "-Werror"], path)
    assert path.stat().st_size > 10_000


SANITIZED = """
import ctypes, sys, torch
from calm_bench.decoding.native import executor
from calm_bench.decoding.native.structures import declare
from tests.decoding.native.conftest import rules_of_all_kinds, texts
from tests.models_for_tests import random_sources, random_t5
for path in sys.argv[1:]:
    library = ctypes.PyDLL(path)
    declare(library)
    executor.library = lambda: library
    for shape in ({}, {"gated": False, "depth": 3}, {"d_model": 50, "encoder": 1}):
        model = random_t5(1, **shape)
        sources = [*random_sources(1, 1), [1], [*range(3, 100), 1]]
        for dtype in (torch.float32, torch.bfloat16):
            for options in ({}, {"preview": False}, {"int8": True}):
                texts(executor.Native(model, dtype, **options), sources, rules_of_all_kinds(model.depth, (0.3,)), 9)
    print("sound", path)
"""


@pytest.mark.slow
def test_memory_and_arithmetic_are_sound(tmp_path: Path) -> None:
    """Under AddressSanitizer and UndefinedBehaviorSanitizer; with all that this machine can do, and with AVX2 alone."""
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer")
    sanitize = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    libraries = {tmp_path / "machine.so": build.machine_flags()}
    if platform.machine() == "x86_64":
        libraries[tmp_path / "avx2.so"] = ["-mavx2", "-mfma"]
    for path, flags in libraries.items():
        build.compile_library(["cc", *build.FLAGS, *flags, *sanitize], path)
    environment = os.environ | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SANITIZED, *map(str, libraries)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"sound {path}" for path in libraries], done.stderr[-2000:]
