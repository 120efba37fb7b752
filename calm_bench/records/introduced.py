"""How a run is introduced to W&B: what it is called there, how it is found, and what W&B may note of the machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calm_bench.config import NOT_RESULTS

if TYPE_CHECKING:
    import wandb

    from calm_bench.records.store import Run

LONGEST_TAG, LONGEST_NAME = 64, 128  # that W&B takes
BESIDE = ("run_id", "created", "command", "environment")  # of run.json, beside the configuration
FINISH_SECONDS = 10.0  # for W&B to end a run; it would wait for ever
# W&B's own words for an exit status: 0 is finished, 255 is killed, any other failed.
EXIT_STATUS = {"finished": 0, "failed": 1, "interrupted": 255}
# Of a training, and what W&B calls their charts.
TRAININGS = {
    "model": "training",
    "classifier": "classifier_training",
    "mlp_classifier": "mlp_classifier_training",
}
SINCE = "run/seconds"  # since a run began, beside whatever it tells while it goes on
# The record says what matters of the machine; names of hosts, remotes and programs stay here.
SETTINGS = {
    "finish_timeout": FINISH_SECONDS,
    "finish_timeout_raises": True,
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "host": "",
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


def introduction(
    run: Run, wandb_id: str, *, project: str, entity: str | None, group: str | None, tags: Sequence[str]
) -> dict[str, Any]:
    """The arguments of `begin`, plain values all."""
    return {
        "id": wandb_id,  # without `resume`, as each copy is whole: the server puts it in the place of the one before
        "project": project,
        "entity": entity,
        "group": _chosen("WANDB_RUN_GROUP", group),
        "job_type": _chosen("WANDB_JOB_TYPE", _job_type(run)),
        "name": _chosen("WANDB_NAME", " ".join([run.run_id, *varied(run)])[:LONGEST_NAME]),
        "notes": _chosen("WANDB_NOTES", _note(run)),
        "tags": _tags(run, tags),
        "dir": _chosen("WANDB_DIR", str(run.home)),
        "config": {**run.info["config"], **{key: run.info[key] for key in BESIDE}},
    }


def begin(introduction: dict[str, Any], mode: str) -> wandb.Run:
    """A W&B run, on the disk (`offline`) or also at its server (`online`)."""
    import wandb

    os.environ.pop("WANDB_TAGS", None)  # the introduction has them; W&B takes no longer ones
    begun = wandb.init(mode=mode, settings=wandb.Settings(**SETTINGS), **introduction)  # type: ignore[arg-type]
    for name in TRAININGS.values():
        begun.define_metric(f"{name}/step", hidden=True)
        begun.define_metric(f"{name}/*", step_metric=f"{name}/step")
    for stage in ("decode", "score", "time"):
        begun.define_metric(f"{stage}/*", step_metric=SINCE)
    return begun


def varied(run: Run) -> list[str]:
    """The options that the run's command gives and that can change a result."""
    words = shlex.split(run.info["command"] or "")
    keys = [word.partition("=")[0].lstrip("+~") for word in words]
    aside = ("experiment", "debug", *NOT_RESULTS)  # the run's name has the first
    kept = [not any(key == name or key.startswith(f"{name}.") for name in aside) for key in keys]
    return [word for word, keep in zip(words, kept, strict=True) if keep and "=" in word]


def tags_given() -> list[str]:
    """What WANDB_TAGS says."""
    return [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]


def _tags(run: Run, more: Sequence[str]) -> list[str]:
    """What a person would filter by: task, model, measures, what was varied, then WANDB_TAGS and `more`."""
    config = run.info["config"]
    names = [(config.get(part) or {}).get("name") for part in ("task", "model")]
    wanted = [*names, *(config.get("measure") or {}), *varied(run), *tags_given(), *more]
    return list(dict.fromkeys(str(tag)[:LONGEST_TAG] for tag in wanted if tag))


def _chosen(variable: str, value: str | None) -> str | None:
    """What the variable says, else `value`. (W&B reads its variables once in a process, and an argument wins.)"""
    return os.environ.get(variable) or value


def _job_type(run: Run) -> str:
    """`train` for a run that trains (or takes what an earlier one trained), else `evaluate`."""
    training = run.info["config"].get("training") or {}
    return "train" if training.get("steps") or training.get("classifier_steps") else "evaluate"


def _note(run: Run) -> str | None:
    """A line: at each tolerance the certified rule of the fewest layers; before there is one, the run's question."""
    if not {"rules", "certificates"} <= set(run.tables):
        return run.info["config"].get("question")
    certificates = run.read("certificates")
    own = certificates[certificates["trial"].isna()].sort_values("mean_exit_layer", kind="stable")
    fewest = own.drop_duplicates(["objective", "delta"]).sort_values(["objective", "delta"])
    names = run.read("rules").set_index("rule")["name"]
    return "; ".join(
        f"{row['objective']} {row['delta']:g}: {row['mean_exit_layer']:.2f} layers ({names[row['rule']]})"
        for row in fewest.to_dict("records")
    )
