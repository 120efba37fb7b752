import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from calm_bench.decoding import Decay, Generations, Rule
from calm_bench.decoding.native import Native, build, executor
from calm_bench.decoding.native.structures import declare
from calm_bench.models import EarlyExitT5
from tests.decoding.conftest import MEASURES

COPYING = ("exit_state", "first_state", "projected_kv", "true_state")


def rules_of_all_kinds(depth: int, thresholds: tuple[float, ...] = (0.6, 0.3, 0.1)) -> list[Rule]:
    """Every measure, decay and kind of state copying, the oracle, the full model, static layers, and drafts."""
    rules = [Rule.full(), *(Rule.static(layer) for layer in range(1, depth + 1))]
    rules += [Rule.speculative(layer, drafts) for layer in (1, depth - 1) for drafts in (1, 3, 20)]
    rules += [Rule.oracle(copying) for copying in COPYING]  # type: ignore[arg-type]
    for measure in MEASURES:
        for copying, form in zip(COPYING, ("additive", "multiplicative", "none", "none"), strict=True):
            for threshold in thresholds:
                decay = Decay(form, 4.0)  # type: ignore[arg-type]
                rules.append(Rule.adaptive(measure, threshold, decay, state_copying=copying))  # type: ignore[arg-type]
    return rules


def native(model: EarlyExitT5, dtype: torch.dtype = torch.float32, **options: bool) -> Native:
    if reason := Native.unavailable(model, dtype):
        pytest.skip(f"the native executor is not available: {reason}")
    return Native(model, dtype, **options)


def texts(executor: Native, sources: list[list[int]], rules: list[Rule], max_new_tokens: int) -> Generations:
    return executor.run(executor.encode(sources), rules, max_new_tokens)


@pytest.fixture
def compiled_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have `Native` use a library that is compiled with other flags than the machine's own."""

    def use(*flags: str) -> None:
        path = tmp_path / "native.so"
        build.compile_library(["cc", *build.FLAGS, *flags], path)
        library = ctypes.PyDLL(str(path))
        declare(library)
        monkeypatch.setattr(executor, "library", lambda: library)

    return use
