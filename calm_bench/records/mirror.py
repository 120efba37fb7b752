"""Weights & Biases gets a copy of a finished run. The folder is the truth: the copy may fail without costing a row."""

import logging
import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from calm_bench.records import schema
from calm_bench.records.store import RUN_FILE, Run

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

INIT_SECONDS = 5.0  # W&B would wait 90 for a server that cannot be reached
FINISH_SECONDS = 120.0  # for the upload; what is not sent by then stays on the disk for `wandb sync`
TABLE_ROWS = 10_000  # W&B cuts longer tables without a word; the artifact has every row


def mirror(
    run: Run,
    figures: Mapping[str, Path],
    *,
    mode: str = "auto",
    project: str = "calm-bench",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
) -> None:
    """Copy a finished `run` and its `figures` (name to image file) to W&B; any failure is one warning, never an error.

    Args:
        mode: `online`, `offline`, `disabled`, or `auto`: what WANDB_MODE says; without it online where this machine is
            logged in, else offline. A run for which no server answers is kept offline too.
    """
    with _quiet(run):
        try:
            mode = resolve_mode(mode)
            if mode == "disabled":
                return
            with _tracked(run, mode=mode, project=project, entity=entity, group=group, tags=tags) as tracked:
                offline, place = tracked.offline, tracked.url or Path(tracked.dir).parent
                _log(run, figures, tracked)
        except Exception as error:  # W&B raises many kinds, and none may cost the run
            log.warning("W&B: not mirrored (%s); %s is complete", _one_line(error), run.path)
            return
    if offline:
        log.info("W&B: offline; upload it with `wandb login` (once) and `wandb sync %s`", place)
    else:
        log.info("W&B: %s", place)


def resolve_mode(mode: str) -> str:
    """The mode that `mode` stands for: `auto` is WANDB_MODE if set, else `online` with a key and `offline` without."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")


def _logged_in() -> bool:
    import wandb

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = wandb.setup().settings
    if settings.api_key:  # from a settings file
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or settings.base_url).netloc
    for file in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        with suppress(OSError, netrc.NetrcParseError):
            hosts = netrc.netrc(os.path.expanduser(file)).hosts
            # W&B moved to another host in 2026 and still takes the keys that were saved for the old one.
            if server in hosts or "api.wandb.ai" in hosts:
                return True
    return False


@contextmanager
def _tracked(run: Run, **where: Any) -> Iterator["wandb.Run"]:
    """A W&B run that is always finished. (W&B's own `with` prints the traceback of an error that passes through.)"""
    tracked = _start(run, **where)
    exit_code = 1
    try:
        yield tracked
        exit_code = 0
    finally:
        tracked.finish(exit_code)


def _start(
    run: Run, *, mode: str, project: str, entity: str | None, group: str | None, tags: Sequence[str]
) -> "wandb.Run":
    """A W&B run; an offline one where no server answers."""
    import wandb

    def init(mode: str) -> "wandb.Run":
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]  # W&B checks it
            project=project,
            entity=entity,
            group=group,
            tags=list(tags),
            name=run.run_id,
            dir=run.path,
            config={**run.info["config"], "run_id": run.run_id, "environment": run.info["environment"]},
            settings=wandb.Settings(
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                silent=True,
                console="off",
                # The record says what matters of the machine; names of hosts, remotes and programs stay here.
                disable_git=True,
                disable_code=True,
                host="",
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    try:
        return init(mode)
    except wandb.errors.CommError as error:
        if mode != "online":
            raise
        log.warning("W&B: no answer (%s); kept offline", _one_line(error))
        return init("offline")


def _log(run: Run, figures: Mapping[str, Path], tracked: "wandb.Run") -> None:
    import wandb

    tokens, certificates = run.read("tokens"), run.read("certificates")
    tracked.log(
        {
            "frontier": _table(run.read("frontier")),
            "certificates": _table(certificates),
            "exit_layers": _table(exit_layers(tokens)),
            "positions": _table(positions(tokens)),
            **{f"exit_layers/{rule}": _histogram(layers) for rule, layers in _certified(tokens, certificates)},
            **{f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()},
        }
    )
    tracked.summary.update({**run.info["summary"], "promises": run.info["promises"], "status": run.status})
    artifact = wandb.Artifact(f"exit-stats-{run.run_id}", type="exit-stats")
    for file in [run.file(name) for name in schema.SCHEMAS] + [run.path / RUN_FILE]:
        if file.exists():
            artifact.add_file(str(file.resolve()), policy="immutable")  # referred to where it is, not copied
    tracked.log_artifact(artifact)


def exit_layers(tokens: pd.DataFrame) -> pd.DataFrame:
    """Per rule and exit layer: the share of the rule's tokens that left there, and their mean confidence (or NaN)."""
    rules = ["measure", "threshold"]
    rows = (
        tokens.groupby([*rules, "exit_layer"], dropna=False)
        .agg(n_tokens=("position", "size"), confidence=("confidence", "mean"))
        .reset_index()
    )
    rows["share"] = rows["n_tokens"] / rows.groupby(rules, dropna=False)["n_tokens"].transform("sum")
    return rows


def positions(tokens: pd.DataFrame, max_rows: int = TABLE_ROWS) -> pd.DataFrame:
    """Per rule and position: the mean exit layer and the number of texts that long.

    The table ends at the position from which on it would have more than `max_rows` rows.
    """
    rules = ["measure", "threshold"]
    rows = (
        tokens.groupby([*rules, "position"], dropna=False)
        .agg(mean_exit_layer=("exit_layer", "mean"), n_tokens=("exit_layer", "size"))
        .reset_index()
    )
    n_rules = max(1, len(rows[rules].drop_duplicates()))
    return rows[rows["position"] < max_rows // n_rules]


def _certified(tokens: pd.DataFrame, certificates: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """The exit layers under each rule that was certified on all examples, and under the oracle."""
    chosen = certificates[certificates["trial"].isna() & certificates["threshold"].notna()]
    for measure, threshold in sorted(set(zip(chosen["measure"], chosen["threshold"], strict=True))):
        rows = (tokens["measure"] == measure) & np.isclose(tokens["threshold"], threshold)
        yield f"{measure}@{threshold:g}", tokens.loc[rows, "exit_layer"]
    if (oracle := tokens["measure"] == "oracle").any():
        yield "oracle", tokens.loc[oracle, "exit_layer"]


def _histogram(layers: pd.Series) -> "wandb.Histogram":
    import wandb

    return wandb.Histogram(np_histogram=np.histogram(layers, bins=np.arange(0.5, layers.max() + 1)))


def _table(frame: pd.DataFrame) -> "wandb.Table":
    import wandb

    cells = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(cells.columns), data=cells.to_numpy(), allow_mixed_types=True)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _quiet(run: Run) -> Iterator[None]:
    """W&B without its own messages and reports, its working copies inside the run's folder; undone afterwards."""
    wanted: dict[str, Any] = {
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DATA_DIR": str(
            (run.path / "wandb").resolve()
        ),  # else ~/.local/share, which a cluster may not let us use
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
