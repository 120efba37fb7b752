"""Whole runs and their copies for W&B: whatever ends a run, the copy says what became of it, now or later."""

import base64
import hashlib
import shutil
import signal
from pathlib import Path

import pytest

from analysis.offline import OfflineRun, read, records_of
from calm_bench.records.stage_cache import locked
from calm_bench.records.store import Run
from tests import cli

pytestmark = pytest.mark.slow
SHORT = [
    "task.max_new_tokens=6",
    "measure=[softmax]",
    "threshold.grid=[0.9]",
    "baselines=[]",
    *cli.QUICK[1:],
    "figures=true",
]

# A signal to itself as soon as a function is entered.
SIGNALLED_IN = """
import importlib, os, sys, time
number, module, name = sys.argv.pop(1).split(":")
module = importlib.import_module(module)
function = getattr(module, name)

def entered(*given, **named):
    os.kill(os.getpid(), int(number))
    time.sleep(0.05)
    return function(*given, **named)

setattr(module, name, entered)
from calm_bench.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def command(tiny_checkpoint: Path) -> list[str]:
    return [f"model.path={tiny_checkpoint}", "limit=3", *SHORT]


@pytest.fixture(scope="module")
def untracked(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command has left a finished run that W&B knows nothing of."""
    done = cli.run(*command, "tracking=disabled", cwd=tmp_path_factory.mktemp("untracked"))
    assert done.returncode == 0, done.stderr
    assert not list(done.cwd.glob("runs/*/wandb/*"))
    return done.cwd


@pytest.fixture
def cwd(untracked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untracked, tmp_path / "cwd"))


def signalled(number: int, function: str, *command: str, cwd: Path) -> tuple[int | None, str]:
    """The exit status and the words of a command that a signal meets in this function."""
    words = ["-c", SIGNALLED_IN, f"{int(number)}:{function}", *command]
    process = cli.python(*words, cwd=cwd, env=cli.environment())
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def copies(cwd: Path) -> list[OfflineRun]:
    return [read(file) for file in cwd.glob("runs/*/wandb/offline-run-*/run-*.wandb")]


def wandb_id(copy: OfflineRun) -> str:
    """As its folder has it: offline-run-TIME-ID, and a number where two have begun in one second."""
    return copy.folder.name.split("-")[3]


def test_a_finished_run_that_was_not_mirrored_is(command: list[str], cwd: Path) -> None:
    done = cli.run(*command, "tracking.mode=offline", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "finished before" in done.stderr
    (copy,) = copies(cwd)
    assert (copy.exit_code, copy.values["status"]) == (0, "finished")
    assert [key for key in copy.values if key.startswith("figures/")]
    again = cli.run(*command, "tracking.mode=offline", cwd=cwd)
    assert "W&B" not in again.stderr
    assert [each.folder for each in copies(cwd)] == [copy.folder]


def test_a_drawing_that_fails_does_not_keep_it_from_w_and_b(command: list[str], cwd: Path) -> None:
    (folder,) = (record.parent for record in cwd.glob("runs/*/run.json"))
    shutil.rmtree(folder / "figures")
    (folder / "figures").write_text("in the way")
    done = cli.run(*command, "tracking.mode=offline", cwd=cwd)
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("no figures: ")]
    assert "FileExistsError" in line
    (copy,) = copies(cwd)
    assert (copy.exit_code, copy.values["status"]) == (0, "finished")


@pytest.mark.parametrize("function", ["analysis:draw", "calm_bench.records.logged:log"])
def test_sigterm_after_the_record_is_finished_calls_it_finished(function: str, command: list[str], cwd: Path) -> None:
    if function == "analysis:draw":
        for figures in cwd.glob("runs/*/figures"):  # what is there is not drawn again
            shutil.rmtree(figures)
    status, err = signalled(signal.SIGTERM, function, *command, "tracking.mode=offline", cwd=cwd)
    assert status == 143, err
    assert err.splitlines()[-1] == "calm-bench: terminated; the same command goes on from where it was"
    (copy,) = copies(cwd)
    assert copy.exit_code == 0
    assert cli.run(*command, "tracking.mode=offline", cwd=cwd).returncode == 0
    (whole,) = copies(cwd)
    assert (whole.exit_code, whole.values["status"]) == (0, "finished")
    assert wandb_id(whole) == wandb_id(copy)
    assert len(list(cwd.glob("runs/*/wandb/staging-*"))) == 1


def test_who_only_waits_for_another_process_says_nothing_of_its_run(command: list[str], cwd: Path) -> None:
    (file,) = cwd.glob("runs/*/run.json")
    file.write_text(file.read_text().replace('"status": "finished"', '"status": "running"'))
    with locked(file.parent):
        process = cli.start(*command, "tracking.mode=offline", cwd=cwd)
        assert process.stderr is not None
        while "waiting for another process" not in (line := process.stderr.readline()):
            assert line
        process.terminate()
        assert process.wait(timeout=30) == 143
    assert Run.open(file.parent).status == "running"
    assert copies(cwd) == []


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_mirrored_as_such_and_then_as_finished(
    tiny_checkpoint: Path, tmp_path: Path, signal_number: int, status: int
) -> None:
    command = [f"model.path={tiny_checkpoint}", "limit=3", *SHORT, "tracking.mode=offline", "figures=false"]
    ended, err = signalled(signal_number, "calm_bench.stages.decode:_chunk", *command, cwd=tmp_path)
    assert ended == status, err
    (copy,) = copies(tmp_path)
    assert (copy.exit_code, copy.values["status"]) == (255, "interrupted")
    assert copy.artifact == {}  # its files will change
    (told,) = tmp_path.glob("runs/*/wandb/live.jsonl")
    assert '"stage": "start"' in told.read_text().splitlines()[0]  # seen before the model's libraries are imported

    done = cli.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (whole,) = copies(tmp_path)
    assert (whole.exit_code, whole.values["status"]) == (0, "finished")
    assert Run.open(whole.artifact["run.json"].parent).status == "finished"
    assert wandb_id(whole) == wandb_id(copy)


def test_the_id_that_the_environment_gives_is_one_runs_alone(
    command: list[str], cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "somebody")
    done = cli.run(*command, "tracking.mode=offline", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (file,) = cwd.glob("runs/*/wandb/offline-run-*/run-mine.wandb")
    (start,) = [record.run for record in records_of(file) if record.WhichOneof("record_type") == "run"]
    assert (start.run_id, start.project, start.entity) == ("mine", "theirs", "somebody")

    done = cli.run("-m", "seed=1,2", *command, "tracking.mode=offline", "figures=false", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B: WANDB_RUN_ID=mine is left aside: the jobs of a multirun have an id each") == 2
    assert len({path.name for path in cwd.glob("runs/*/wandb/offline-run-*/run-*.wandb")}) == 3


def test_later_promises_reach_w_and_b_and_the_copy_is_of_the_record_as_it_is(
    command: list[str], tmp_path: Path
) -> None:
    done = cli.run(*command, "tracking.mode=offline", "figures=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (first,) = copies(tmp_path)
    folder = done.stdout.splitlines()[-1].removeprefix("run: ")
    done = cli.run(folder, "calibration.epsilon=0.2", cwd=tmp_path, module="calm_bench.certify")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("W&B: offline; ")
    (copy,) = copies(tmp_path)
    assert len(copy.values["promises"]) == 2 * len(first.values["promises"])
    assert set(copy.artifact) == {*first.artifact, "certificates-1.parquet"}
    digests = {
        Path(entry.local_path): entry.digest
        for record in records_of(next(copy.folder.glob("*.wandb")))
        for artifact in (record.artifact, record.request.log_artifact.artifact)
        for entry in artifact.manifest.contents
        if artifact.type == "exit-stats"
    }
    assert {path.name for path in digests} == set(copy.artifact)
    for path, digest in digests.items():
        assert digest == base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
