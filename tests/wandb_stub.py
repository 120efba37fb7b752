"""A W&B server on loopback that keeps everything in memory.

Enough for the real `wandb sweep`, `wandb agent`, and runs that log to it, artifacts included. An operation that it does
not know is answered with an error and kept in `unknown`.
"""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, PROJECT = "someone", "calm-bench"
Values = dict[str, Any]
_LAST_PAGE = {"endCursor": None, "hasNextPage": False}


@dataclass
class StoredRun:
    """What a client has sent of one run."""

    name: str
    about: Values = field(default_factory=dict)  # as upsertBucket was given it: groupName, jobType, tags, sweep ...
    config: Values = field(default_factory=dict)
    summary: Values = field(default_factory=dict)
    history: list[Values] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def state(self) -> str:
        return "running" if self.exit_code is None else "finished" if self.exit_code == 0 else "failed"


class Stub:
    """The server's memory. `trials` are handed to agents one by one, each a mapping of option to value."""

    def __init__(self) -> None:
        self.url = ""
        self.trials: list[Values] = []
        self.handed_out = 0
        self.sweep = ""  # the YAML text of the sweep that was created
        self.runs: dict[str, StoredRun] = {}
        self.uploads: dict[str, bytes] = {}  # by path
        self.artifacts: dict[str, Values] = {}
        self.unknown: list[str] = []
        self.others: list[str] = []

    def environment(self) -> dict[str, str]:
        """What makes a W&B client talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "a" * 40, "WANDB_ENTITY": ENTITY}

    def graphql(self, query: str, given: Values) -> Values:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        answer = getattr(self, f"on_{found[1]}" if found else "", None)
        if answer is None:
            self.unknown.append(found[1] if found else query)
            return {"data": None, "errors": [{"message": f"unknown operation {self.unknown[-1]}"}]}
        return {"data": answer(given)}

    def stream(self, name: str, body: Values) -> None:
        """What a run sends as it goes: lines of history, the last summary, and at the end the exit status."""
        run = self.runs[name]
        for name, part in (body.get("files") or {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                run.history += lines
            elif name == "wandb-summary.json":
                run.summary = lines[-1]
        if body.get("complete"):
            run.exit_code = body.get("exitcode", 0)

    # Who am I, and what can you do?
    def on_Viewer(self, _: Values) -> Values:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": teams}}

    def on_ServerFeaturesQuery(self, _: Values) -> Values:
        return {"serverInfo": {"features": []}}

    def on_OrganizationCoreWeaveOrganizationID(self, _: Values) -> Values:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    # Sweeps and their agents.
    def on_UpsertSweep(self, given: Values) -> Values:
        self.sweep = given["config"]
        project = {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": "sweep1", "project": project}, "configValidationWarnings": []}}

    def on_SweepWithRuns(self, _: Values) -> Values:
        sweep = {"id": "s", "name": "sweep1", "method": "grid", "state": "RUNNING", "config": self.sweep}
        return {"project": {"sweep": {**sweep, "controller": None, "scheduler": None, "runs": {"edges": []}}}}

    def on_CreateAgent(self, _: Values) -> Values:
        while self.handed_out and f"trial{self.handed_out}" not in self.runs:
            self.handed_out -= 1  # an earlier agent has died over it
        return {"createAgent": {"agent": {"id": "agent1"}}}

    def on_Heartbeat(self, given: Values) -> Values:
        commands: list[Values] = []
        if not json.loads(given["runState"] or "{}"):
            if self.handed_out < len(self.trials):
                trial = {name: {"value": value} for name, value in self.trials[self.handed_out].items()}
                self.handed_out += 1
                run = {"run_id": f"trial{self.handed_out}", "program": "calm_bench", "args": trial}
                commands = [{"type": "run", **run}]
            else:
                commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}

    # Runs and their files.
    def on_UpsertBucket(self, given: Values) -> Values:
        run = self.runs.setdefault(given["name"], StoredRun(given["name"]))
        run.about |= {key: value for key, value in given.items() if value is not None}
        if given.get("config"):
            run.config = {key: item["value"] for key, item in json.loads(given["config"]).items()}
        bucket = {
            "id": f"id-{run.name}", "name": run.name, "displayName": run.about.get("displayName"), "config": "{}",
            "description": None, "sweepName": run.about.get("sweep"), "historyLineCount": 0,
            "project": {"id": "p", "name": PROJECT, "entity": {"id": "e", "name": ENTITY}},
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def on_CreateRunFiles(self, given: Values) -> Values:
        files = [{"name": name, "uploadUrl": self._place(f"{given['run']}/{name}")} for name in given["files"]]
        answer = {"runID": f"id-{given['run']}", "uploadHeaders": [], "files": files}
        return {"createRunFiles": answer}

    # Reading back.
    def on_Runs(self, given: Values) -> Values:
        runs = list(self.runs.values())  # oldest first
        if given["order"] == "-created_at":
            runs.reverse()
        nodes = [
            {
                "id": f"id-{run.name}", "projectId": 1, "name": run.name, "displayName": run.about.get("displayName"),
                "state": run.state, "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
                "summaryMetrics": json.dumps(run.summary), "tags": run.about.get("tags", []),
                "group": run.about.get("groupName"), "jobType": run.about.get("jobType"), "sweepName": None,
                "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "systemMetrics": "{}",
                "historyLineCount": len(run.history), "historyKeys": {}, "readOnly": False, "commit": None,
                "description": None, "notes": None, "user": {"name": ENTITY, "username": ENTITY},
            }
            for run in runs
        ]  # fmt: skip
        page = {"edges": [{"node": node, "cursor": "c"} for node in nodes], "pageInfo": _LAST_PAGE}
        return {"project": {"internalId": 1, "runCount": len(nodes), "readOnly": False, "runs": page}}

    def on_RunFiles(self, given: Values) -> Values:
        nodes = []
        for name in given["fileNames"]:
            body, url = self.uploads[f"/upload/{given['name']}/{name}"], self._place(f"{given['name']}/{name}")
            file = {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": len(body), "mimetype": None}
            nodes.append({**file, "updatedAt": None, "md5": None})
        page = {"edges": [{"node": node, "cursor": "c"} for node in nodes], "pageInfo": _LAST_PAGE}
        return {"project": {"internalId": 1, "run": {"fileCount": len(nodes), "files": page}}}

    def on_RunOutputArtifacts(self, given: Values) -> Values:
        project = {"id": "p", "internalId": "1", "name": PROJECT, "entity": {"name": ENTITY}}
        nodes = [
            {
                "__typename": "Artifact", "id": number, "versionIndex": self._version(number), "description": None,
                "metadata": None,
                "artifactType": {"name": artifact["artifactTypeName"]}, "ttlDurationSeconds": -2,
                "ttlIsInherited": True, "artifactSequence": {
                    "__typename": "ArtifactSequence", "name": artifact["artifactCollectionName"], "project": project
                },
                "tags": [], "historyStep": None, "state": artifact["state"], "size": 1, "digest": artifact["digest"],
                "commitHash": None, "fileCount": len(artifact["files"]), "createdAt": "2026-01-01T00:00:00",
                "updatedAt": None, "aliases": [],
            }
            for number, artifact in self.artifacts.items()
            if artifact["runName"] == given["run"]
        ]  # fmt: skip
        page = {"totalCount": len(nodes), "pageInfo": {"__typename": "PageInfo", **_LAST_PAGE}}
        return {"project": {"run": {"artifacts": {**page, "edges": [{"node": node} for node in nodes]}}}}

    def on_FetchArtifactManifest(self, given: Values) -> Values:
        return {
            "artifact": {"currentManifest": {"file": {"directUrl": self._place(f"{given['id']}/wandb_manifest.json")}}}
        }

    def on_GetArtifactMembershipFileUrls(self, given: Values) -> Values:
        versions = [a["files"] for a in self.artifacts.values() if a["artifactCollectionName"] == given["collection"]]
        files = versions[int(given["alias"].removeprefix("v"))]
        edges = [
            {"node": {"__typename": "File", "name": name, "directUrl": self.url + path}} for name, path in files.items()
        ]
        page = {"pageInfo": {"__typename": "PageInfo", **_LAST_PAGE}, "edges": edges}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": page}}
        return {"project": {"artifactCollection": collection}}

    # Artifacts.
    def on_ArtifactType(self, _: Values) -> Values:
        return {"project": {"artifact": None}}  # no earlier version

    def on_ClientIDMapping(self, _: Values) -> Values:
        return {"clientIDMapping": None}

    def on_CreateArtifact(self, given: Values) -> Values:
        number = f"artifact{len(self.artifacts) + 1}"
        self.artifacts[number] = {**given["input"], "files": {}, "state": "PENDING"}
        sequence = {"id": f"sequence-{number}", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": number, "state": "PENDING", "artifactSequence": sequence}}}

    def on_CreateArtifactManifest(self, given: Values) -> Values:
        return {"createArtifactManifest": self._manifest(given["artifactID"])}

    def on_UpdateArtifactManifest(self, given: Values) -> Values:
        return {"updateArtifactManifest": self._manifest(given["artifactManifestID"].removeprefix("manifest-"))}

    def on_CreateArtifactFiles(self, given: Values) -> Values:
        edges = []
        for file in given["input"]["artifactFiles"]:
            number, name = file["artifactID"], file["name"]
            place = f"{number}/{name}"
            self.artifacts[number]["files"][name] = f"/upload/{place}"
            node = {
                "id": f"{number}-{name}", "name": name, "displayName": name, "storagePath": place,
                "uploadUrl": self._place(place), "uploadHeaders": [], "uploadMultipartUrls": None,
                "artifact": {"id": number},
            }  # fmt: skip
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_CommitArtifact(self, given: Values) -> Values:
        artifact = self.artifacts[given["artifactID"]]
        artifact["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": artifact.get("digest")}}}

    def _version(self, number: str) -> int:
        """Which of the artifacts of its name it is, from 0."""
        name = self.artifacts[number]["artifactCollectionName"]
        return [key for key, each in self.artifacts.items() if each["artifactCollectionName"] == name].index(number)

    def _manifest(self, number: str) -> Values:
        name = "wandb_manifest.json"
        file = {"id": f"file-{number}", "name": name, "displayName": name, "uploadHeaders": []}
        return {
            "artifactManifest": {
                "id": f"manifest-{number}",
                "file": {**file, "uploadUrl": self._place(f"{number}/{name}")},
            }
        }

    def _place(self, path: str) -> str:
        return f"{self.url}/upload/{path}"


@contextmanager
def serving() -> Iterator[Stub]:
    """A server that answers on a free port of this machine until the block ends."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body, answer = self._body(), {}
            if self.path.endswith("/graphql"):
                asked = json.loads(body)
                answer = stub.graphql(asked["query"], asked.get("variables") or {})
            elif self.path.endswith("/file_stream"):
                stub.stream(self.path.split("/")[-2], json.loads(body))
            else:
                stub.others.append(self.path)  # W&B's own telemetry
            self._answer(json.dumps(answer).encode())

        def do_PUT(self) -> None:
            stub.uploads[self.path] = self._body()
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(stub.uploads.get(self.path, b""), 200 if self.path in stub.uploads else 404)

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _answer(self, body: bytes, status: int = 200) -> None:
            with suppress(BrokenPipeError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield stub
        server.shutdown()
