"""What reaches W&B's server, here a stub on loopback, from records that were mirrored, and what slow servers cost."""

import base64
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from analysis.offline import read
from calm_bench.records.store import Run
from tests import cli
from tests.wandb_stub import Stub, serving

pytestmark = pytest.mark.slow
MIRROR = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
from calm_bench.records.store import Run
from calm_bench.records.mirror import mirror
mirror(Run.open(sys.argv[1]))
"""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


@pytest.fixture
def finished(run: Run, frames: dict[str, pd.DataFrame]) -> Run:
    for name, frame in frames.items():
        run.write(name, frame)
    run.finish(["With probability 0.95 ..."], score=41.5)
    return run


def python(stub: Stub, *words: str, cwd: Path | None = None, **variables: str) -> list[str]:
    """What a process prints that may reach the stub."""
    kept = {name: value for name, value in cli.environment().items() if not name.startswith("WANDB_")}
    process = cli.python(*words, cwd=cwd or Path.cwd(), env={**kept, **stub.environment(), **variables})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def committed(stub: Stub, run: Run) -> None:
    """The newest artifact of the record is there, and each of its files is the record's."""
    artifact = [a for a in stub.artifacts.values() if a["artifactTypeName"] == "exit-stats"][-1]
    assert artifact["state"] == "COMMITTED"
    assert set(artifact["files"]) == {file.name for file in run.path.iterdir() if file.suffix in (".json", ".parquet")}
    number = next(number for number, each in stub.artifacts.items() if each is artifact)
    manifest = json.loads(stub.uploads[f"/upload/{number}/wandb_manifest.json"])["contents"]
    for name, place in artifact["files"].items():
        content = (run.path / name).read_bytes()
        assert stub.uploads[place] == content
        assert manifest[name]["digest"] == base64.b64encode(hashlib.md5(content).digest()).decode()


@pytest.mark.parametrize("fault", ["on_UpsertBucket", "stream", "on_CreateArtifact"])
def test_a_server_that_hangs_costs_seconds_and_is_served_later(fault: str, finished: Run, stub: Stub) -> None:
    answers = getattr(stub, fault)
    setattr(stub, fault, lambda *_: time.sleep(60))
    begun = time.monotonic()
    (line,) = python(stub, "-c", MIRROR, str(finished.path), WANDB_INIT_TIMEOUT="3")
    assert time.monotonic() - begun < 15
    (folder,) = finished.path.glob("wandb/offline-run-*")
    assert line == f"WARNING W&B: not uploaded (no end after 3 s); later: `wandb sync {folder}`, or this command again"

    setattr(stub, fault, answers)
    (line,) = python(stub, "-c", MIRROR, str(finished.path))
    assert line.startswith(f"INFO W&B: {stub.url}/")
    assert [each.state for each in stub.runs.values()] == ["finished"]
    committed(stub, finished)
    assert python(stub, "-c", MIRROR, str(finished.path)) == []  # W&B has it


def test_an_upload_that_is_interrupted_ends_at_once_and_is_done_later(finished: Run, stub: Stub) -> None:
    asked = threading.Event()

    def hang(_: object) -> None:
        asked.set()
        time.sleep(60)

    answers, stub.on_UpsertBucket = stub.on_UpsertBucket, hang  # type: ignore[method-assign, assignment]
    kept = {name: value for name, value in cli.environment().items() if not name.startswith("WANDB_")}
    process = cli.python("-c", MIRROR, str(finished.path), cwd=Path.cwd(), env={**kept, **stub.environment()})
    assert asked.wait(30)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert time.monotonic() - begun < 5
    (file,) = finished.path.glob("wandb/offline-run-*/run-*.wandb")
    assert read(file).exit_code == 0

    stub.on_UpsertBucket = answers  # type: ignore[method-assign]
    python(stub, "-c", MIRROR, str(finished.path))
    assert list(finished.path.glob("wandb/offline-run-*/run-*.wandb")) == [file]  # the copy was whole
    committed(stub, finished)


def test_a_login_that_hangs_costs_seconds(finished: Run, stub: Stub) -> None:
    stub.on_Viewer = lambda _: time.sleep(60)  # type: ignore[method-assign, assignment, return-value]
    begun = time.monotonic()
    (line,) = python(stub, "-c", MIRROR, str(finished.path))
    assert time.monotonic() - begun < 20
    assert line.startswith((f"INFO W&B: {stub.url}/", "WARNING W&B: not uploaded ("))


def test_a_server_that_refuses_is_quoted(finished: Run, stub: Stub) -> None:
    stub.on_UpsertBucket = None  # type: ignore[method-assign]
    (line,) = python(stub, "-c", MIRROR, str(finished.path))
    assert line.startswith("WARNING W&B: not uploaded (")
    assert "unknown operation UpsertBucket" in line


def test_the_users_own_wandb_sync_uploads_what_was_kept_offline(finished: Run, stub: Stub) -> None:
    (line,) = python(stub, "-c", MIRROR, str(finished.path), WANDB_MODE="offline")
    folder = line.split("`wandb sync ")[1].rstrip("`")
    python(stub, "-m", "wandb", "sync", folder, cwd=finished.path, WANDB_ERROR_REPORTING="false")
    (online,) = stub.runs.values()
    assert online.state == "finished"
    assert online.summary["certified/softmax/textual_10pct/layers"] == 4.0
    assert {"frontier", "certificates", "timings", "frontier_chart_table"} <= set(online.history[-1])
    committed(stub, finished)
    assert python(stub, "-c", MIRROR, str(finished.path)) == []  # W&B has it, whoever sent it


def test_a_record_stays_one_run_of_w_and_b(run: Run, frames: dict[str, pd.DataFrame], stub: Stub) -> None:
    run.mark("interrupted")
    python(stub, "-c", MIRROR, str(run.path))
    assert [each.state for each in stub.runs.values()] == ["failed"]
    for score in (1, 2):  # the same command; then with force=true
        again = Run.begin(run.path, {}, name="demo", seed=0)
        for name, frame in frames.items():
            again.write(name, frame)
        again.finish(score=score)
        python(stub, "-c", MIRROR, str(again.path))
        (online,) = stub.runs.values()
        assert (online.state, online.summary["score"]) == ("finished", score)
        committed(stub, again)
    assert len(list(run.path.glob("wandb/offline-run-*"))) == 1
    assert list(run.path.glob("wandb/staging-*")) == []


def test_nothing_of_the_machine_is_sent(finished: Run, stub: Stub, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python(stub, "-c", MIRROR, str(finished.path), cwd=elsewhere)
    assert list(elsewhere.iterdir()) == []
    (online,) = stub.runs.values()
    assert [online.about.get(key) for key in ("host", "commit", "repo")] == [None] * 3
    assert online.about["program"] == "-m wandb.__main__"  # W&B's own
    sent = [path.rsplit("/", 1)[-1] for path in stub.uploads]
    assert not {"wandb-metadata.json", "requirements.txt", "output.log"} & set(sent)
    assert stub.others == []
    everything = json.dumps([online.about, online.config, online.summary])
    assert f'"{os.uname().nodename}"' not in everything
    assert str(Path.home()) not in everything
