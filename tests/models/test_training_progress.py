"""What a training says of its pace."""

from types import SimpleNamespace
from typing import Any

import pytest

from calm_bench.models import progress


def test_a_first_step_that_compiles_counts_for_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, float]] = []
    monkeypatch.setattr(progress, "tell", told.append)
    times = iter([60.0, 60.5, 61.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    state: Any = SimpleNamespace(global_step=0, max_steps=100, is_world_process_zero=True)
    callback, nothing = progress.Progress("fine-tune", "training", str), SimpleNamespace()
    callback.on_train_begin(nothing, state, nothing)  # type: ignore[arg-type]
    for _ in range(3):
        state.global_step += 1
        callback.on_step_end(nothing, state, nothing)  # type: ignore[arg-type]
        callback.on_log(nothing, state, nothing, {"loss": 1.0, "learning_rate": 0.1})  # type: ignore[arg-type]
    callback.on_train_end(nothing, state, nothing)  # type: ignore[arg-type]
    assert "training/steps_per_second" not in told[0]
    assert [part["training/steps_per_second"] for part in told[1:]] == [2.0, 2.0]
    assert told[-1]["training/seconds_left"] == pytest.approx(97 / 2)
