"""What a person sees of a training: one bar, and a line for each evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

log = logging.getLogger(__name__)


class Progress(TrainerCallback):
    """A bar with step, loss and time left, on a terminal only; evaluations go to the log, `describe`d."""

    def __init__(self, title: str, describe: Callable[[Mapping[str, float]], str]) -> None:
        self._title, self._describe = title, describe

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        """Trainer's event; a training that goes on begins where it was."""
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._title,
            unit="step",
            dynamic_ncols=True,
            disable=None if state.is_world_process_zero else True,  # None: where there is no terminal
        )

    def on_step_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        self._bar.update()

    def on_log(
        self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, logs: Mapping[str, float], **____: Any
    ) -> None:
        """Trainer's event, with a training loss or with what an evaluation found."""
        if "loss" in logs:
            self._bar.set_postfix(loss=f"{logs['loss']:.4g}", refresh=False)

    def on_evaluate(
        self, _: TrainingArguments, state: TrainerState, __: TrainerControl, metrics: Mapping[str, float], **___: Any
    ) -> None:
        """Trainer's event."""
        if state.is_world_process_zero:
            with tqdm.external_write_mode():
                step = f"{self._title}, step {state.global_step} of {state.max_steps}"
                log.info("%s: %s", step, self._describe(metrics))

    def on_train_end(self, _: TrainingArguments, __: TrainerState, ___: TrainerControl, **____: Any) -> None:
        """Trainer's event."""
        self._bar.close()
