"""Read an offline W&B run back without a server, and keep the tests' runs away from the user's own wandb.

`run-<id>.wandb` is a LevelDB log (7-byte header, blocks of 32 KiB, chunks of crc32, length, type) whose records are
`wandb_internal_pb2.Record`. wandb 0.31 has no public reader for it; its `datastore` module is gone.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_HEADER = b":W&B"
_HEADER_BYTES, _BLOCK, _CHUNK_HEADER = 7, 32768, struct.Struct("<IHB")
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass(frozen=True)
class LoggedArtifact:
    """An artifact: for a table, its rows and media."""

    name: str
    type: str
    files: dict[str, Path]
    """Path inside the artifact -> the local copy that would be uploaded."""


@dataclass
class OfflineRun:
    """What an offline run would upload."""

    directory: Path
    id: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[LoggedArtifact] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def keys(self) -> set[str]:
        """Every key that was logged, wandb's own left out."""
        return {key for row in self.history for key in row if not key.startswith("_")}

    def values(self, key: str) -> list[Any]:
        """What was logged under `key`, in order."""
        return [row[key] for row in self.history if key in row]

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        """Key of each chart over a table -> the table's key, and the columns that it shows as x, y and stroke."""
        found = {}
        for key, chart in self.config.get("_wandb", {}).get("visualize", {}).items():
            settings = chart["panel_config"]
            [query] = settings["userQuery"]["queryFields"]
            [table] = [f["args"][0]["value"] for f in query["fields"] if f["name"] == "summaryTable"]
            found[key] = {"table": table, "preset": settings["panelDefId"], **settings["fieldSettings"]}
        return found

    def media(self, key: str) -> list[Path]:
        """The files in the run's folder that `key` shows."""
        paths = []
        for value in self.values(key):
            names = value.get("filenames") or [v["path"] for v in value.get("videos", [])] or [value["path"]]
            paths += [self.directory / "files" / name for name in names]
        return paths

    def table(self, key: str) -> list[dict[str, Any]]:
        """The rows of the table logged once under `key`, as its artifact holds them; a medium is its local file."""
        name = f"{key}.table.json"
        [artifact] = [artifact for artifact in self.artifacts if name in artifact.files]
        content = json.loads(artifact.files[name].read_text())
        return [
            {
                c: artifact.files[v["path"]] if isinstance(v, dict) else v
                for c, v in zip(content["columns"], row, strict=True)
            }
            for row in content["data"]
        ]


def read_runs(directory: Path) -> list[OfflineRun]:
    """Return every run under `directory`, oldest first."""
    files = sorted(directory.rglob("run-*.wandb"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [read_run(path) for path in files]


def read_run(path: Path, wait_s: float = 10.0) -> OfflineRun:
    """Return the run stored in the `.wandb` file `path`.

    `run.finish()` returns some milliseconds before wandb's service has written the last block: wait up to `wait_s`
    for the record that ends the file. A run that was killed has none: pass 0.
    """
    deadline = time.monotonic() + wait_s
    while (run := _read(path)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return run


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.name, run.project = record.run.run_id, record.run.display_name, record.run.project
                run.entity, run.group, run.job_type = record.run.entity, record.run.run_group, record.run.job_type
                run.tags, run.notes = list(record.run.tags), record.run.notes
                _merge(run.config, _plain(record.run.config.update))
            case "config":
                _merge(run.config, _plain(record.config.update))
            case "history":
                run.history.append(_plain(record.history.item))
            case "summary":
                run.summary |= _plain(record.summary.update)
            case "artifact":
                files = {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
                run.artifacts.append(LoggedArtifact(record.artifact.name, record.artifact.type, files))
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def records(path: Path) -> Iterator[Any]:
    """Yield the `wandb_internal_pb2.Record`s of a `.wandb` file; a torn tail (a killed run) ends it."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    if not data.startswith(_HEADER):
        raise ValueError(f"{path} is not a .wandb file")
    at, body = _HEADER_BYTES, b""
    while at + _CHUNK_HEADER.size <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _CHUNK_HEADER.size:
            at += left  # padding at the end of a block
            continue
        crc, length, kind = _CHUNK_HEADER.unpack_from(data, at)
        at += _CHUNK_HEADER.size
        chunk = data[at : at + length]
        if len(chunk) < length:
            return
        if zlib.crc32(bytes([kind]) + chunk) != crc:
            raise ValueError(f"{path}: bad checksum at byte {at}")
        at += length
        body = chunk if kind in (_FULL, _FIRST) else body + chunk
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(body)
            yield record


def _plain(items: Any) -> dict[str, Any]:
    """Return config, history or summary items as a dict; nested keys become nested dicts."""
    out: dict[str, Any] = {}
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        node = out
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = _value(item)
    return out


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _value(item: Any) -> Any:
    # Since 0.31 a history value sits in a oneof of typed fields; everything else is JSON text.
    if item.value_json:
        return json.loads(item.value_json)
    for oneof in item.DESCRIPTOR.oneofs:
        if chosen := item.WhichOneof(oneof.name):
            value = getattr(item, chosen)
            return json.loads(value) if "json" in chosen else value
    return None


def isolate_wandb(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Hide the user's wandb settings, keys and folders: the tests' runs must neither use nor touch them."""
    home.mkdir(parents=True, exist_ok=True)
    for name in list(os.environ):
        # WANDB_SERVICE is the address of the service process that earlier tests started: theirs, and ours.
        if name.startswith("WANDB_") and name != "WANDB_SERVICE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
