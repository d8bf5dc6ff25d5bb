"""A stand-in for the W&B server on a loopback port: it takes uploads, and can misbehave.

It answers what wandb 0.31 asks while a run is logged or synced, and keeps what was uploaded. It is no part of what
is tested: the tracker talks to the real wandb, and wandb to this.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Variables = dict[str, Any]


class WandbServer(ThreadingHTTPServer):
    """Listens on a free loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault: int | str | None = None
        """What every answer is instead: a status (503: down behind its proxy), `garbage`, `redirect` or `hang`."""
        self.released = threading.Event()
        """Ends answers that hang."""
        self.runs: list[Variables] = []
        """Variables of each request that opened or updated a run."""
        self.uploads: dict[str, bytes] = {}
        """File name -> content; artifact files stand under `artifact/`."""
        self.artifacts: list[str] = []
        """Names of the artifacts that were asked for, committed or not."""
        self.commits = 0
        """Artifacts that arrived whole."""

    @property
    def url(self) -> str:
        """What WANDB_BASE_URL must be."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: wandb drops connections when it ends."""

    def answer(self, operation: str, variables: Variables) -> Any:
        """Return the GraphQL data for one request."""
        known: dict[str, Callable[[Variables], Any]] = {
            "Viewer": lambda _: {"viewer": _VIEWER},
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "UpsertBucket": self._run,
            "RunResumeStatus": self._resumed,
            "CreateRunFiles": self._run_files,
            "CreateArtifact": self._artifact,
            "CreateArtifactManifest": lambda _: {
                "createArtifactManifest": {"artifactManifest": {"id": "M", "file": self._file("manifest")}}
            },
            "CreateArtifactFiles": self._artifact_files,
            "CommitArtifact": self._commit,
        }
        return known.get(operation, lambda _: {"project": {"artifact": None}})(variables)

    def _run(self, variables: Variables) -> Any:
        self.runs.append(variables)
        project = {"id": "P", "name": variables["project"], "entity": {"id": "E", "name": "somebody"}}
        bucket = {"id": "B", "name": variables["name"], "displayName": variables["displayName"], "config": "{}"}
        bucket |= {"description": None, "sweepName": None, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _resumed(self, variables: Variables) -> Any:
        if variables["name"] not in {run["name"] for run in self.runs}:
            return {"model": {"bucket": None}}
        tail = json.dumps([json.dumps({"_step": 4, "_runtime": 2, "seconds/check": 0.5})])
        bucket = {"name": variables["name"], "displayName": "first", "id": "B", "historyTail": tail, "eventsTail": "[]"}
        bucket |= {
            "historyLineCount": 5,
            "eventsLineCount": 0,
            "logLineCount": 0,
            "config": "{}",
            "tags": ["first", "problems", "failed: metric jerk"],
        }
        bucket |= {"summaryMetrics": '{"status": "failed", "error": "x: y", "_step": 4}', "wandbConfig": '{"t": 1}'}
        return {"model": {"id": "P", "name": variables["project"], "entity": {"name": "somebody"}, "bucket": bucket}}

    def _run_files(self, variables: Variables) -> Any:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}}

    def _artifact(self, variables: Variables) -> Any:
        self.artifacts.append(variables["input"]["artifactCollectionName"])
        artifact = {"id": "A", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _artifact_files(self, variables: Variables) -> Any:
        names = [spec["name"] for spec in variables["input"]["artifactFiles"]]
        nodes = [self._file(f"artifact/{name}") | {"name": name, "artifact": {"id": "A"}} for name in names]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _commit(self, _: Variables) -> Any:
        self.commits += 1
        return {"commitArtifact": {"artifact": {"id": "A", "digest": "x"}}}

    def _file(self, name: str) -> dict[str, Any]:
        node = {"id": "F", "name": name, "displayName": name, "uploadUrl": f"{self.url}/upload/{name}"}
        return node | {"uploadHeaders": [], "storagePath": "S", "uploadMultipartUrls": None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            request = json.loads(body)
            data = self.server.answer(request.get("operationName") or "", request.get("variables") or {})
            self._reply({"data": data})
        else:
            self._reply({})

    def do_PUT(self) -> None:
        body = self._body()
        if self.server.fault is None:
            self.server.uploads[self.path.removeprefix("/upload/")] = body
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, content: Any) -> None:
        fault = self.server.fault
        if fault == "hang":
            self.server.released.wait()
        body = b"<html>" if fault == "garbage" else json.dumps({} if fault else content).encode()
        self.send_response(fault if isinstance(fault, int) else 302 if fault == "redirect" else 200)
        if fault == "redirect":
            self.send_header("Location", self.server.url)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


_VIEWER = {
    "id": "U",
    "entity": "somebody",
    "username": "somebody",
    "email": "somebody@localhost",
    "flags": "{}",
    "admin": False,
    "teams": {"edges": []},
}


@contextmanager
def serving() -> Iterator[WandbServer]:
    """Serve until the block ends."""
    server = WandbServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
