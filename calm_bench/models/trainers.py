"""What Hugging Face's Trainer is told of the two stages: their losses, and how they are validated."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import Seq2SeqTrainer, Trainer, TrainerControl

from calm_bench import processes
from calm_bench.choices import ClassifierObjective
from calm_bench.models.compiled import CapturedSteps
from calm_bench.models.exit_classifier import ExitClassifier
from calm_bench.models.exit_simulation import frozen_above, random_exit_layers
from calm_bench.models.loss import (
    IGNORED,
    exit_classifier_losses,
    layer_agreement,
    layer_losses,
)
from calm_bench.models.mlp_classifier import MlpClassifier
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.pairs import ByLength
from calm_bench.models.stopping_loss import Predictions, StoppingLoss, prediction_loss
from calm_bench.progress import waiting

Score = Callable[[EarlyExitModel], float]
LOWEST = torch.finfo(torch.bfloat16).min  # finite in bfloat16, too


class EndsAtNan(Trainer):
    """Trainer whose training ends where a loss is no number."""

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        """Trainer's own. Losses are looked at where they are logged: at any other step the device would be waited for.

        An evaluation logs before its checkpoint is kept. Raises FloatingPointError where a loss is NaN or infinite.
        """
        if not all(math.isfinite(logs[name]) for name in ("loss", "eval_loss") if name in logs):
            raise FloatingPointError(
                f"training: the loss is not finite at step {self.state.global_step}; lower the learning rate, or try "
                "more training.warmup_steps, training.max_grad_norm=1.0 or training.bf16=false (the same command would "
                "go on from the last checkpoint)"
            )
        super().log(logs, *arguments, **options)


class ReadsByLength(EndsAtNan):
    """Trainer whose steps have pairs of about one length, and in whose loss every target token weighs alike.

    A batch's loss is a mean over its target tokens, which `share` makes a part of the sum over all: a batch of short
    texts has few tokens, and those would weigh more.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        about = self.args
        together = about.train_batch_size * about.gradient_accumulation_steps * about.world_size
        sampler = ByLength(train_dataset or self.train_dataset, together, about.seed)
        self._targets = about.train_batch_size * sampler.mean_targets
        return sampler

    def share(self, labels: Tensor) -> Tensor:
        """Target tokens of a batch that trains, over those of a mean batch."""
        return (labels != IGNORED).sum() / self._targets


class MultiExitTrainer(ReadsByLength, Seq2SeqTrainer):
    """Seq2SeqTrainer with the layer-weighted loss, evaluated by the full model's score and by each layer's loss.

    A step's loss is the mean over its batches: those accumulated, and those of other processes.
    """

    model_accepts_loss_kwargs: bool
    control: TrainerControl

    def prepare(
        self, weights: Tensor, exit_simulation: float, model: EarlyExitModel, score: Score, *, compiled: bool
    ) -> None:
        """Set what Trainer's own constructor does not take; `weights` are the layers', (L,).

        compiled: the layers are; then steps are CUDA graphs, too, where one process trains on a GPU.
        """
        self._weights, self._exit_simulation = weights.to(model.device), exit_simulation
        said = compiled and self.is_world_process_zero()
        self._first_step: AbstractContextManager[None] = waiting("compiling") if said else nullcontext()
        self._captures = compiled and model.device.type == "cuda" and self.args.world_size == 1
        self._captured: CapturedSteps | None = None
        self._early_exit_model, self._score = model, score
        self.model_accepts_loss_kwargs = False  # else Trainer takes the loss to be divided by the accumulated tokens

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *arguments: Any) -> Tensor:
        """Trainer's own, or a captured one. Its loss is a share of those of the batches accumulated."""
        with self._first_step:
            self._first_step = nullcontext()
            if not self._captures:
                return super().training_step(model, inputs, *arguments)
            if self._captured is None:
                plain = super().training_step
                self._captured = CapturedSteps(lambda batch: plain(model, _with_whole_masks(batch)), model.parameters())
            return self._captured(self._prepare_inputs(inputs), kind=self.current_gradient_accumulation_steps)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        labels = inputs.pop("labels")
        t5 = self.accelerator.unwrap_model(model)
        exit_layers = None
        simulation: AbstractContextManager[None] = nullcontext()
        if self._exit_simulation:
            exit_layers = random_exit_layers(labels, len(self._weights), self._exit_simulation)
            simulation = frozen_above(t5, exit_layers)
        with simulation:
            outputs = model(**inputs, output_hidden_states=True, use_cache=False)
        with self.accelerator.autocast():  # Trainer's own covers the model's call, and the early layers' heads are ours
            losses = layer_losses(t5, outputs, labels, exit_layers, padding_too=self._captures)
        return losses @ self._weights * self.share(labels)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The full model's score; each layer's loss and agreement; and `eval_loss`, weighted as in training.

        Every process computes them, and the first one's count, so that all choose the same checkpoint.
        """
        self.model.eval()
        metrics = processes.agree({"eval_score": self._score(self._early_exit_model), **self._layer_metrics()})
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
            outputs = self.model(**inputs, output_hidden_states=True, use_cache=False)
            count = int((labels != IGNORED).sum())
            means = layer_losses(self.model, outputs, labels), layer_agreement(self.model, outputs, labels)
            totals += count * torch.stack(means).cpu()
            tokens += count
        names = [f"eval_{what}_layer_{i}" for what in ("loss", "agreement") for i in range(1, len(self._weights) + 1)]
        metrics = dict(zip(names, (totals / tokens).flatten().tolist(), strict=True))
        return {**metrics, "eval_loss": float(totals[0] / tokens @ self._weights.cpu())}


def _with_whole_masks(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch with attention's own masks, (B, 1, 1, S) and (1, 1, T, T): transformers looks at what others hold.

    They are added to the scores, which all its releases can do.
    """
    length, there = inputs["labels"].shape[1], inputs["attention_mask"].bool()
    causal = torch.ones(length, length, device=there.device, dtype=torch.bool).tril()
    source, text = (torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, LOWEST) for seen in (there, causal))
    return {**inputs, "attention_mask": source[:, None, None], "decoder_attention_mask": text[None, None]}


class ClassifierTrainer(ReadsByLength):
    """Trainer of the exit classifier on the frozen model, whose loss is a mean as MultiExitTrainer's is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *arguments: Any, **options: Any) -> Any:
        found = super().compute_loss(model, inputs, *arguments, **options)
        return found * self.share(inputs["labels"]) if model.training else found


class FrozenWithClassifier(nn.Module):
    """The frozen model with a fresh exit classifier: what the second stage trains.

    The weights begin at zero, where the loss is the same whatever the scale of the states; the loss is convex in them.
    """

    def __init__(self, model: EarlyExitModel, objective: ClassifierObjective, balanced: bool) -> None:
        super().__init__()
        self._objective, self._balanced = objective, balanced
        self.classifier = ExitClassifier(model.width).to(model.device)
        for parameter in self.classifier.parameters():
            nn.init.zeros_(parameter)
        self._frozen = [model.backbone.eval()]  # in a list: not a submodule, so it is neither trained nor saved

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """`loss`, the mean over layers; inputs as the collator gives them."""
        t5 = self._frozen[0]
        with torch.no_grad():
            outputs = t5(**inputs, output_hidden_states=True, use_cache=False)
        losses = exit_classifier_losses(self.classifier, t5, outputs, labels, self._objective, self._balanced)
        return {"loss": losses.mean()}


class LearnsWhereToStop(nn.Module):
    """Fresh networks that learn where to stop from what the frozen model has computed.

    Attributes:
        loss: what is minimised, of the networks' `log_odds` and what the layers predict.
    """

    def __init__(self, model: EarlyExitModel, hidden: int) -> None:
        super().__init__()
        self.classifier = MlpClassifier(model.width, model.depth, hidden).to(model.device)
        self.loss: StoppingLoss = prediction_loss

    def forward(self, states: Tensor, agrees: Tensor, leads: Tensor) -> dict[str, Tensor]:
        """`loss` of a batch of `FrozenStates`."""
        log_odds = self.classifier.log_odds(states.float().unbind(1))
        return {"loss": self.loss(log_odds, Predictions(agrees.T, leads.float().T))}
