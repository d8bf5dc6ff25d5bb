"""One job as the page shows it: how it ended, its samples, their files, curves and scores."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.records import FAILURE, MANIFEST, FileEntry, Metrics, Record, SampleRecord
from strands_diffusers.report.addresses import Shortener, address
from strands_diffusers.report.curves import Drawings
from strands_diffusers.report.sweeps import FOLDER, Job

_KINDS = {
    "video": (".mp4", ".webm", ".mov"),
    "picture": (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"),
    "sound": (".wav", ".mp3", ".flac", ".ogg"),
}
"""What a browser can show of a file, by its suffix; anything else is a link."""

_ASIDE = ("output_dir", "resume", "sweep", "hydra", FOLDER)
"""Keys and nodes of a sweep that a command for one job does without."""

Json = dict[str, Any]
Values = Callable[[Metrics], list[float | None]]
"""A table of metrics as one value per column of the page."""


def entry(job: Job, start: Path, drawings: Drawings, values: Values, short: Shortener, notes: list[str]) -> Json:
    """Return one job; its addresses are relative to `start`, its curves' layouts go to `drawings`."""
    record = job.record
    observed = next((file for file in record.artifacts if file.type == "observation"), None)
    spent = {key: value for key, value in record.seconds.items() if isinstance(value, int | float)}
    found: Json = {
        "number": job.name,
        "status": "done" if record.done else "failed",
        "same_as": job.same_as,
        "error": short.prose(record.error),
        "stage": record.stage,
        "problems": [short.prose(str(problem)) for problem in record.problems],
        "command": command(record.overrides, short),
        "prompt": record.prompt,
        "task": str(record.samples[0].observation.get("task") or "") if record.samples else "",
        "source": short.value(record.observation),
        "reference": str(record.samples[0].details.get("reference") or "") if record.samples else "",
        "observed": _file(observed, record.directory, start) if observed else None,
        "seconds": record.total_seconds if record.done else None,
        "spent": [[key, round(value, 3)] for key, value in spent.items()],
        "metrics": values(record.metrics),
        "samples": [_sample(record, sample, start, drawings, values, notes) for sample in record.samples],
    }
    own = [record.directory / name for name in (MANIFEST, FAILURE)] + sorted(record.directory.glob("*.log"))
    records = [
        FileEntry(path.name, "record", path.stat().st_size) for path in own if path.is_file() and path.stat().st_size
    ]
    shown = {file["href"] for sample in found["samples"] for file in sample["files"]}
    rest = [_file(file, record.directory, start) for file in (*record.artifacts, *records)]
    found["links"] = [file for file in rest if file["href"] not in shown]
    return found


def command(overrides: Sequence[str], short: Shortener) -> str:
    """The line that makes this job's rollout again, for a shell; paths are short, as everywhere on the page."""
    kept = [text for text in overrides if re.split(r"[=.@/]", text.lstrip("+~"), maxsplit=1)[0] not in _ASIDE]
    return shlex.join(["strands-diffusers", *map(short.value, kept)])


def _sample(
    record: Record, sample: SampleRecord, start: Path, drawings: Drawings, values: Values, notes: list[str]
) -> Json:
    """One sample: its files, its scores, and the curves of the actions that it predicted, or else was given.

    What was observed is every sample's, and stands in the job's own folder.
    """
    own = record.files_of(sample)
    shared = [
        file for file in record.artifacts if file.type == "reference" and "/" not in file.path and file not in own
    ]
    return {
        "index": sample.index,
        "seed": sample.seed,
        "fps": sample.fps,
        "files": [_file(file, record.directory, start) for file in (*own, *shared)],
        "metrics": values(sample.metrics),
        "curves": drawings.add(record, sample, notes),
    }


def _file(file: FileEntry, directory: Path, start: Path) -> Json:
    """A link, and what a player must know before it loads the file: its size [px], its length [s], its rate [Hz]."""
    path, details = Path(file.path), file.details
    suffix = "" if file.raw else path.suffix.lower()
    kind = next((kind for kind, suffixes in _KINDS.items() if suffix in suffixes), "file")
    shape, fps = _shape(details), details.get("fps")
    found: Json = {"type": file.type, "name": path.name, "kind": kind, "href": address(directory / path, start)}
    if file.bytes:
        found["bytes"] = file.bytes
    if shape:
        found["shape"] = f"{details.get('dtype') or ''} [{', '.join(map(str, shape))}]".strip()
    if kind == "video" and len(shape) == 4 and isinstance(fps, int | float) and 0 < fps < float("inf"):
        found |= {"size": [shape[2], shape[1]], "seconds": round(shape[0] / fps, 4), "fps": fps}
    elif kind == "picture" and len(shape) in (3, 4):
        found["size"] = [shape[-2], shape[-3]]
    return found


def _shape(details: Mapping[str, Any]) -> list[int]:
    """The shape that a file's details name; empty where they name none."""
    shape = details.get("shape")
    return shape if isinstance(shape, list) and all(isinstance(side, int) and side > 0 for side in shape) else []
