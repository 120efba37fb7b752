"""What a training says: to a person how far along it is, to those who follow the run its curves as they come."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from calm_bench import progress
from calm_bench.following import tell

log = logging.getLogger(__name__)


class Progress(TrainerCallback):
    """Step, loss and time left; evaluations go to the log, `describe`d.

    Those who follow the run are told both as CURVE/step, CURVE/loss and so on, the names of `records.logged.curves`.
    """

    def __init__(
        self, title: str, curve: str, describe: Callable[[Mapping[str, float]], str], steps_before: int = 0
    ) -> None:
        """steps_before: of the same curve, in an earlier part of the training."""
        self._title, self._curve, self._describe, self._steps_before = title, curve, describe, steps_before

    def on_train_begin(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        self._bar: progress.Progress | None = None

    def on_step_end(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        """Trainer's event. The first step counts for no pace: it may compile, and a training goes on where it was."""
        if self._bar is None:
            self._begun, self._first = time.perf_counter(), state.global_step
            shown = state.is_world_process_zero
            self._bar = progress.Progress(state.max_steps, self._title, "step", done=state.global_step, shown=shown)
        else:
            self._bar.update()

    def on_log(
        self, _: TrainingArguments, state: TrainerState, __: TrainerControl, logs: Mapping[str, float], **___: Any
    ) -> None:
        """Trainer's event, with a training loss or with what an evaluation found."""
        if "loss" in logs and self._bar is not None:
            self._bar.about(f"loss {logs['loss']:.4g}")
            told = {name: logs[name] for name in ("loss", "learning_rate")}
            if steps := state.global_step - self._first:
                rate = steps / (time.perf_counter() - self._begun)
                told |= {"steps_per_second": rate, "seconds_left": (state.max_steps - state.global_step) / rate}
            self._tell(state, told)

    def on_evaluate(
        self, _: TrainingArguments, state: TrainerState, __: TrainerControl, metrics: Mapping[str, float], **___: Any
    ) -> None:
        """Trainer's event."""
        if state.is_world_process_zero:
            with progress.around_a_line():
                step = f"{self._title}, step {state.global_step} of {state.max_steps}"
                log.info("%s: %s", step, self._describe(metrics))
            self._tell(state, _evaluation(metrics))

    def on_train_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        if self._bar is not None:
            self._bar.close()

    def _tell(self, state: TrainerState, found: Mapping[str, float]) -> None:
        if state.is_world_process_zero:
            values = {"step": self._steps_before + state.global_step, **found}
            tell({f"{self._curve}/{name}": value for name, value in values.items()})


def _evaluation(metrics: Mapping[str, float]) -> dict[str, float]:
    """What an evaluation found, called as in the curves of a record."""
    names = {"eval_loss": "validation_loss", "eval_score": "score"}
    layers = {name: re.sub(r"^eval_(\w+)_layer_", r"\1/layer_", name) for name in metrics if "_layer_" in name}
    return {new: metrics[name] for name, new in {**names, **layers}.items() if name in metrics}
