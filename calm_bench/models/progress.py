"""What a person sees of a training: how far along it is, and a line for each evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from calm_bench import progress

log = logging.getLogger(__name__)


class Progress(TrainerCallback):
    """Step, loss and time left; evaluations go to the log, `describe`d."""

    def __init__(self, title: str, describe: Callable[[Mapping[str, float]], str]) -> None:
        self._title, self._describe = title, describe

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        """Trainer's event; a training that goes on begins where it was."""
        shown = state.is_world_process_zero
        self._bar = progress.Progress(state.max_steps, self._title, "step", done=state.global_step, shown=shown)

    def on_step_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        self._bar.update()

    def on_log(
        self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, logs: Mapping[str, float], **____: Any
    ) -> None:
        """Trainer's event, with a training loss or with what an evaluation found."""
        if "loss" in logs:
            self._bar.about(f"loss {logs['loss']:.4g}")

    def on_evaluate(
        self, _: TrainingArguments, state: TrainerState, __: TrainerControl, metrics: Mapping[str, float], **___: Any
    ) -> None:
        """Trainer's event."""
        if state.is_world_process_zero:
            with progress.around_a_line():
                step = f"{self._title}, step {state.global_step} of {state.max_steps}"
                log.info("%s: %s", step, self._describe(metrics))

    def on_train_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        self._bar.close()
