"""The two training stages: multi-exit fine-tuning, then the exit classifier on the frozen model.

Both run on Hugging Face's Trainer, which owns the loop, precision, accumulation, checkpoints and several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerControl,
    TrainingArguments,
)

from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.exit_simulation import frozen_above, random_exit_layers
from calm_bench.models.loss import (
    IGNORED,
    ClassifierObjective,
    LossWeights,
    exit_classifier_losses,
    layer_agreement,
    layer_losses,
    layer_weights,
)
from calm_bench.models.t5 import EarlyExitT5

Dataset = Any  # of the library `datasets`, which a machine that only decodes need not have
Score = Callable[[EarlyExitT5], float]


@dataclass
class TrainingSettings:
    """How a model is fine-tuned; conf/training says what each line means."""

    steps: int
    batch_size: int
    gradient_accumulation: int
    optimizer: Literal["adafactor", "adamw"]
    learning_rate: float
    schedule: Literal["constant", "cosine", "linear"]
    warmup_steps: int
    weight_decay: float
    loss_weights: LossWeights
    exit_simulation: float
    bf16: bool
    evaluate_every: int
    evaluate_examples: int
    classifier_steps: int
    classifier_learning_rate: float
    classifier_objective: ClassifierObjective
    classifier_balanced: bool
    stored_dtype: Literal["float32", "float16", "bfloat16"]
    workers: int


def fine_tune(
    model: EarlyExitT5,
    rows: Dataset,
    validation: Sequence[dict[str, list[int]]],
    settings: TrainingSettings,
    *,
    score: Score,
    folder: Path,
    seed: int,
) -> pd.DataFrame:
    """Fine-tune in place with the layer-weighted loss (CALM, Eq. 6); the checkpoint of the best full-model score stays.

    Under torchrun each process calls this alike; Trainer shares the work, and the first process writes the checkpoints.

    Args:
        rows: training pairs as `tokenized` gives them.
        validation: pairs with the same columns, on which each layer's loss is measured.
        score: the full model's validation score, higher is better; asked every `settings.evaluate_every` steps.
        folder: where checkpoints go while training; the same call resumes from the last one.

    Returns:
        What each layer had learnt at each evaluation: step, score (the full model's), layer (1..L), loss (mean token
        cross-entropy under teacher forcing) and agreement (share of its tokens that are the last layer's).
    """
    arguments = Seq2SeqTrainingArguments(
        **_arguments(settings, folder, seed, model.device, settings.steps, settings.learning_rate),
        eval_strategy="steps",
        eval_steps=settings.evaluate_every,
        save_strategy="steps",
        save_steps=settings.evaluate_every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_score",
        greater_is_better=True,
    )
    trainer = _MultiExitTrainer(
        model=model.backbone,
        args=arguments,
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=DataCollatorForSeq2Seq(model.tokenizer, model=model.backbone),
    )
    trainer.prepare(settings, model, score)
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    round_weights(model, settings.stored_dtype)
    model.backbone.eval()
    return _by_layer(trainer.state.log_history, model.depth)


def train_exit_classifier(
    model: EarlyExitT5,
    rows: Dataset,
    settings: TrainingSettings,
    *,
    folder: Path,
    seed: int,
) -> None:
    """Give the model an exit classifier, trained with everything else frozen (CALM, section 3.5 and appendix D)."""
    module = _FrozenWithClassifier(model, settings)
    arguments = TrainingArguments(
        **_arguments(
            settings, folder, seed, model.device, settings.classifier_steps, settings.classifier_learning_rate
        ),
        save_strategy="no",
    )
    trainer = Trainer(
        model=module,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(model.tokenizer, model=model.backbone),
    )
    trainer.train()
    model.classifier = module.classifier.eval()


def tokenized(model: EarlyExitT5, rows: Dataset, max_source_tokens: int, max_target_tokens: int) -> Dataset:
    """Training pairs of text (columns `source`, `target`) as `input_ids` and `labels`, cut to these lengths."""

    def to_ids(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {
            "input_ids": model.tokenize(batch["source"], max_source_tokens),
            "labels": model.tokenize(batch["target"], max_target_tokens),
        }

    return rows.map(
        to_ids,
        batched=True,
        remove_columns=rows.column_names,
        desc="tokenise",
        new_fingerprint=uuid4().hex,  # else datasets tries to pickle the tokenizer for its cache
    ).with_format(None)


def round_weights(model: EarlyExitT5, dtype: str) -> None:
    """Round the weights to what will be stored, so that the exit classifier learns from the model people load."""
    for parameter in model.backbone.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype)).float()


def _arguments(
    settings: TrainingSettings, folder: Path, seed: int, device: torch.device, steps: int, learning_rate: float
) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "optim": {"adafactor": "adafactor", "adamw": "adamw_torch_fused"}[settings.optimizer],
        "learning_rate": learning_rate,
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "bf16": settings.bf16,
        "use_cpu": device.type == "cpu",
        "dataloader_num_workers": settings.workers,
        "remove_unused_columns": False,
        "logging_steps": max(1, steps // 100),
        "report_to": [],
        "seed": seed,
    }


def _by_layer(history: list[dict[str, float]], depth: int) -> pd.DataFrame:
    rows = [
        {
            "step": entry["step"],
            "score": entry["eval_score"],
            "layer": layer,
            "loss": entry[f"eval_loss_layer_{layer}"],
            "agreement": entry[f"eval_agreement_layer_{layer}"],
        }
        for entry in history
        if "eval_score" in entry
        for layer in range(1, depth + 1)
    ]
    return pd.DataFrame(rows, columns=["step", "score", "layer", "loss", "agreement"])


def _last_checkpoint(folder: Path) -> str | None:
    from transformers.trainer_utils import get_last_checkpoint

    return get_last_checkpoint(str(folder)) if folder.is_dir() else None


class _MultiExitTrainer(Seq2SeqTrainer):
    """Seq2SeqTrainer with the layer-weighted loss, evaluated by the full model's score and by each layer's loss."""

    model_accepts_loss_kwargs: bool
    control: TrainerControl

    def prepare(self, settings: TrainingSettings, model: EarlyExitT5, score: Score) -> None:
        self._weights = layer_weights(settings.loss_weights, model.depth)
        self._exit_simulation = settings.exit_simulation
        self._early_exit_model, self._score = model, score
        self.model_accepts_loss_kwargs = False  # our loss is a mean over the batch's tokens; Trainer scales it

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        labels = inputs.pop("labels")
        t5 = self.accelerator.unwrap_model(model)
        exit_layers = None
        simulation: AbstractContextManager[None] = nullcontext()
        if self._exit_simulation:
            exit_layers = random_exit_layers(labels, len(self._weights), self._exit_simulation)
            simulation = frozen_above(t5, exit_layers)
        with simulation:
            outputs = model(**inputs, output_hidden_states=True)
        return layer_losses(t5, outputs, labels, exit_layers) @ self._weights.to(labels.device)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        metrics = {"eval_score": self._score(self._early_exit_model), **self._layer_metrics()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _layer_metrics(self) -> dict[str, float]:
        """Each layer's loss and agreement with the last layer, means over the validation tokens."""
        totals, tokens = torch.zeros(2, len(self._weights)), 0
        for batch in DataLoader(
            self.eval_dataset, self.args.per_device_train_batch_size, collate_fn=self.data_collator
        ):
            inputs = self._prepare_inputs(dict(batch))
            labels = inputs.pop("labels")
            outputs = self.model(**inputs, output_hidden_states=True)
            count = int((labels != IGNORED).sum())
            means = layer_losses(self.model, outputs, labels), layer_agreement(self.model, outputs, labels)
            totals += count * torch.stack(means).cpu()
            tokens += count
        names = [f"eval_{what}_layer_{i}" for what in ("loss", "agreement") for i in range(1, len(self._weights) + 1)]
        return dict(zip(names, (totals / tokens).flatten().tolist(), strict=True))


class _FrozenWithClassifier(nn.Module):
    """The frozen model with a fresh exit classifier: what the second stage trains."""

    def __init__(self, model: EarlyExitT5, settings: TrainingSettings) -> None:
        super().__init__()
        self._objective, self._balanced = settings.classifier_objective, settings.classifier_balanced
        self.classifier = ExitClassifier(model.backbone.config.d_model).to(model.device)
        self._frozen = [model.backbone.eval()]  # in a list: not a submodule, so it is neither trained nor saved

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        t5 = self._frozen[0]
        with torch.no_grad():
            outputs = t5(**inputs, output_hidden_states=True)
        losses = exit_classifier_losses(self.classifier, t5, outputs, labels, self._objective, self._balanced)
        return {"loss": losses.mean()}
