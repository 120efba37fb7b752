"""The training stages: multi-exit fine-tuning, then the classifiers on the frozen model.

Both run on Hugging Face's Trainer, which owns the loop, precision, accumulation, checkpoints and several processes.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    Adafactor,
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerState,
    TrainingArguments,
)

from calm_bench import processes
from calm_bench.choices import ClassifierObjective, LossWeights
from calm_bench.config import TrainingConfig
from calm_bench.models.compiled import LENGTHS, compiled
from calm_bench.models.curves import History
from calm_bench.models.frozen_states import FrozenStates
from calm_bench.models.loss import layer_weights
from calm_bench.models.model import EarlyExitModel
from calm_bench.models.pairs import Pairs
from calm_bench.models.progress import Progress
from calm_bench.models.stopping_loss import prediction_loss, stopping_loss
from calm_bench.models.trainers import (
    ClassifierTrainer,
    EndsAtNan,
    FrozenWithClassifier,
    LearnsWhereToStop,
    MultiExitTrainer,
    Score,
)

log = logging.getLogger(__name__)
STATE_FILE = "trainer_state.json"  # the last of a checkpoint's files
# All of torch's kernels but cuDNN's, which torch takes first on an H100 or H200. Its backward pass gives NaN where a
# mask is given, a length is 64 above a multiple of 128 and a row's log-sum-exp is below -88.7 (pytorch issue 196678).
# T5 always gives a mask, and does not scale its products, so that they can be large.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def fine_tune(
    model: EarlyExitModel,
    rows: Pairs,
    validation: Pairs,
    settings: TrainingConfig,
    *,
    score: Score,
    folder: Path,
    seed: int,
) -> History:
    """Fine-tune in place with the layer-weighted loss (CALM, Eq. 6); the checkpoint of the best full-model score stays.

    Under torchrun each process calls this alike; Trainer shares the work, and the first process writes the checkpoints.

    Args:
        rows: training pairs, `input_ids` and `labels`, as `TokenizedPairs` gives them.
        validation: pairs alike, on which each layer's loss is measured.
        score: the full model's validation score, higher is better; asked every `settings.evaluate_every` steps.
        folder: where checkpoints go while training; the same call resumes from the last one.
    """
    arguments = Seq2SeqTrainingArguments(
        **_arguments(settings, folder, seed, model.device, settings.steps, settings.evaluate_every),
        optim="adamw_torch_fused",  # unless `_adafactor` takes its place
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        bf16=settings.bf16,
        metric_for_best_model="eval_score",
        greater_is_better=True,
    )
    trainer = MultiExitTrainer(
        model=model.backbone,
        args=_one_card(arguments),
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=DataCollatorForSeq2Seq(
            model.tokenizer, model=model.backbone, pad_to_multiple_of=LENGTHS if settings.compile else None
        ),
        callbacks=[Progress("fine-tune", "training", _what_layers_learnt)],
    )
    if settings.optimizer == "adafactor":
        trainer.optimizer_cls_and_kwargs = _adafactor(settings)  # what Seq2SeqTrainer has no argument for
    weights = layer_weights(cast(LossWeights, settings.loss_weights), model.depth)
    trainer.prepare(weights, settings.exit_simulation, model, score, compiled=settings.compile)
    with compiled(model.sublayers) if settings.compile else nullcontext():
        history = _train(trainer, folder)
    round_weights(model.backbone, settings.stored_dtype)
    model.backbone.eval()
    return history


def train_exit_classifier(
    model: EarlyExitModel,
    rows: Pairs,
    validation: Pairs,
    settings: TrainingConfig,
    *,
    folder: Path,
    seed: int,
) -> History:
    """Give the model an exit classifier, trained with everything else frozen (CALM, section 3.5 and appendix D).

    The checkpoint of the best validation loss stays, of ten. The loss is convex in the d + 1 weights, so its optimum
    does not depend on the way there, and the way is the same whatever fine-tunes the model: AdamW without decay of
    weights, its rate falling to zero in a line. All is in float32, as decoding has it.

    `rows`, `validation` and `folder` are as in `fine_tune`, and so is what becomes of an interrupted call.
    """
    module = FrozenWithClassifier(
        model, cast(ClassifierObjective, settings.classifier_objective), settings.classifier_balanced
    )
    rate = {"learning_rate": settings.classifier_learning_rate, "lr_scheduler_type": "linear"}
    arguments = _classifier_arguments(settings, folder, seed, model.device, settings.classifier_steps, rate)
    progress = _classifier_progress("exit classifier", "classifier_training")
    history = _train(_classifier_trainer(module, model, arguments, rows, validation, progress), folder)
    model.learned["classifier"] = module.classifier.eval()
    return history


def train_mlp_classifier(
    model: EarlyExitModel,
    rows: Pairs,
    validation: Pairs,
    settings: TrainingConfig,
    *,
    folder: Path,
    seed: int,
) -> History:
    """Give the model an MLP classifier, trained with everything else frozen.

    One half of the steps teaches it what the layers predict, the other what stopping there costs (`stopping_loss`), at
    a third of the rate. Each is AdamW with weight decay 0.01 and no clipping, its rate rising for a twentieth of the
    steps and falling to zero along a cosine, and leaves its checkpoint of the best validation loss, of ten. All is in
    float32, but what is kept of the frozen model is in float16; in the end the weights are rounded to
    `settings.stored_dtype`, so that the native executor may read them from it.

    The labels of `rows` and `validation` are the full model's own texts, ended or cut as it wrote them. `folder` is as
    in `fine_tune`, and so is what becomes of an interrupted call; the model reads the texts again then.
    """
    torch.manual_seed(seed)  # whatever was trained before, in this process or in one that was interrupted
    module = LearnsWhereToStop(model, settings.mlp_classifier_hidden)
    train, check = (
        FrozenStates(model, pairs, settings.mlp_classifier_gigabytes, title if processes.is_first() else "")
        for pairs, title in ((rows, "what layers predict"), (validation, ""))
    )
    if len(train) < train.of:
        log.info("%d of %d tokens train the MLP classifier: training.mlp_classifier_gigabytes", len(train), train.of)
    steps = (settings.mlp_classifier_steps + 1) // 2
    history: History = []
    for begun, loss, share in ((0, prediction_loss, 1.0), (steps, stopping_loss, 1 / 3)):
        module.loss = loss
        name = loss.__name__.removesuffix("_loss")
        rate = {
            "learning_rate": share * settings.mlp_classifier_learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": steps // 20,
            "weight_decay": 0.01,
            "max_grad_norm": 0.0,
        }
        tokens = settings.mlp_classifier_batch_size
        in_memory = {
            "per_device_train_batch_size": tokens,
            "per_device_eval_batch_size": tokens,
            "gradient_accumulation_steps": 1,
            "dataloader_num_workers": 0,
            "dataloader_persistent_workers": False,
            "label_names": ["agrees"],  # without labels Trainer does not validate
        }
        arguments = _classifier_arguments(settings, folder / name, seed, model.device, steps, rate | in_memory)
        trainer = EndsAtNan(
            model=module,
            args=_one_card(arguments),
            train_dataset=train,
            eval_dataset=check,
            data_collator=lambda batch: batch,
            callbacks=[_classifier_progress(f"MLP classifier, {name}", "mlp_classifier_training", steps_before=begun)],
        )
        history += [{**entry, "step": entry["step"] + begun} for entry in _train(trainer, folder / name)]
    round_weights(module.classifier, settings.stored_dtype)
    model.learned["mlp_classifier"] = module.classifier.eval()
    return history


def round_weights(module: nn.Module, dtype: str) -> None:
    """Round the weights to what will be stored, so that what is trained next learns from the model people load."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype)).float()


def _classifier_arguments(
    settings: TrainingConfig, folder: Path, seed: int, device: torch.device, steps: int, rate: dict[str, Any]
) -> TrainingArguments:
    """AdamW with this rate, validated ten times."""
    return TrainingArguments(
        **_arguments(settings, folder, seed, device, steps, max(1, steps // 10)) | rate,
        optim="adamw_torch",
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )


def _classifier_progress(title: str, curve: str, steps_before: int = 0) -> Progress:
    return Progress(title, curve, lambda found: f"validation loss {found['eval_loss']:.4f}", steps_before)


def _classifier_trainer(
    module: nn.Module,
    model: EarlyExitModel,
    arguments: TrainingArguments,
    rows: Pairs,
    validation: Pairs,
    progress: Progress,
) -> Trainer:
    return ClassifierTrainer(
        model=module,
        args=_one_card(arguments),
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=DataCollatorForSeq2Seq(model.tokenizer, model=model.backbone),
        callbacks=[progress],
    )


def _arguments(
    settings: TrainingConfig, folder: Path, seed: int, device: torch.device, steps: int, evaluate_every: int
) -> dict[str, Any]:
    """What all stages have alike."""
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_grad_norm": settings.max_grad_norm,
        "use_cpu": device.type == "cpu",
        "dataloader_num_workers": _workers(settings),
        "dataloader_persistent_workers": _workers(settings) > 0,
        "remove_unused_columns": False,
        "eval_strategy": "steps",
        "eval_steps": evaluate_every,
        "save_strategy": "steps",
        "save_steps": evaluate_every,
        "save_total_limit": 2,  # the best and the last; at 1, Trainer deletes the last one when it has ended
        "load_best_model_at_end": True,
        "logging_steps": max(1, steps // 100),
        "logging_nan_inf_filter": False,  # it waits for the device at each step
        "disable_tqdm": True,
        "report_to": [],
        "seed": seed,
    }


def _workers(settings: TrainingConfig) -> int:
    """As many as are asked for, one a core at most; none in a job of joblib's launcher.

    Its processes cannot have torch's as children: it makes batches by itself.
    """
    known = multiprocessing.get_start_method() in multiprocessing.get_all_start_methods()
    may_start = known and not multiprocessing.current_process().daemon
    return min(settings.workers, processes.cores()) if may_start else 0


def _adafactor(settings: TrainingConfig) -> tuple[type[Adafactor], dict[str, Any]]:
    """Adafactor with the rate of the schedule; Trainer's own is always without `scale_parameter`."""
    return Adafactor, {
        "lr": settings.learning_rate,
        "scale_parameter": settings.scale_parameter,
        "relative_step": False,
    }


def _one_card(arguments: TrainingArguments) -> TrainingArguments:
    """Keep Trainer from splitting batches over all cards it sees (DataParallel): a process has one, torchrun many."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _train(trainer: Trainer, folder: Path) -> History:
    """Train from the last checkpoint on, if there is one, and load the best."""
    trainer.remove_callback(PrinterCallback)
    checkpoint = _last_checkpoint(folder)
    if checkpoint and _step(checkpoint) >= trainer.args.max_steps:  # Trainer would do one more step
        trainer.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
        trainer._load_best_model()
    else:
        with sdpa_kernel(ATTENTION):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history: History = trainer.state.log_history
    return history


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that is whole: a process may have been killed while it wrote one."""
    return max(filter(_is_whole, folder.glob("checkpoint-*")), key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE_FILE).read_text())
    except (OSError, ValueError):
        return False
    return True


def _what_layers_learnt(found: Mapping[str, float]) -> str:
    agreement = [value for name, value in found.items() if name.startswith("eval_agreement")]
    layers = " ".join(f"{value:.2f}" for value in agreement[:-1])
    return f"full model's score {found['eval_score']:.2f}, loss {found['eval_loss']:.3f}, agreement by layer {layers}"
