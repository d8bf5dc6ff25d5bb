"""One job as the page shows it: how it ended, its samples, their files and curves."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.report.axes import config_of, overrides_of
from strands_diffusers.report.drawing import Drawings
from strands_diffusers.report.folder import FAILURE, MANIFEST, Job

_KINDS = {
    "film": (".mp4", ".webm", ".mov"),
    "picture": (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"),
    "sound": (".wav", ".mp3", ".flac", ".ogg"),
}
"""What a browser can show of a file, by its suffix; anything else is a link."""

Json = dict[str, Any]


def entry(job: Job, start: Path, drawings: Drawings, notes: list[str]) -> Json:
    """Return one job; its addresses are relative to `start`, its curves' layouts go to `drawings`."""
    record = job.manifest or {}
    failure = job.failure or job.row
    found: Json = {
        "number": job.number,
        "status": job.status,
        "error": failure.get("error") or "",
        "stage": failure.get("stage") or "",
        "overrides": " ".join(overrides_of(job)),
        "prompt": config_of(job).get("prompt") or "",
        "seconds": job.row.get("seconds"),
        "spent": [],
        "takes": [],
        "links": [],
    }
    if record:
        spent = {key: value for key, value in record["seconds"].items() if isinstance(value, int | float)}
        samples = record["samples"] or [record["rollout"]]
        found |= {
            "prompt": record["rollout"]["prompt"],
            "seconds": round(sum(spent.values()), 3),
            "spent": [[key, round(value, 3)] for key, value in spent.items()],
            "takes": [_take(sample, record["artifacts"], job, start, drawings, notes) for sample in samples],
        }
    if job.directory is not None:
        own = [job.directory / name for name in (MANIFEST, FAILURE)] + sorted(job.directory.glob("*.log"))
        records = [{"type": "record", "path": p.name, "bytes": p.stat().st_size} for p in own if p.is_file()]
        shown = {file["href"] for take in found["takes"] for file in take["files"]}
        rest = [_file(artifact, job.directory, start) for artifact in (*record.get("artifacts", ()), *records)]
        found["links"] = [file for file in rest if file["href"] not in shown]
    return found


def address(path: Path, start: Path) -> str:
    """Return the relative address of a file for a link: `./3/a%20b.mp4`, which no name can turn into a scheme."""
    relative = os.path.relpath(path, start).replace(os.sep, "/")
    return "./" + urllib.parse.quote(os.fsencode(relative))


def _take(
    rollout: Mapping[str, Any], artifacts: Sequence[Json], job: Job, start: Path, drawings: Drawings, notes: list[str]
) -> Json:
    """One sample: its files, and the curves of the actions that it predicted, or else was given."""
    assert job.directory is not None
    sample = rollout["sample"]
    prefix = "" if sample is None else f"sample_{sample:02d}/"
    own = [artifact for artifact in artifacts if artifact["path"].startswith(prefix)]
    take: Json = {
        "sample": sample,
        "seed": rollout["seed"],
        "fps": rollout["fps"],
        "files": [_file(artifact, job.directory, start) for artifact in own],
        "curves": None,
    }
    for artifact in own:
        if artifact["type"] == "action" and Path(artifact["path"]).name == "action.json":
            take["curves"] = drawings.add(job.directory / artifact["path"], rollout["space"], notes)
    if take["curves"] is None and rollout.get("given_action") is not None:
        where = f"{job.number}/{MANIFEST}: given_action"
        take["curves"] = drawings.add_rows(rollout["given_action"], rollout["space"], where, notes, given=True)
    return take


def _file(artifact: Mapping[str, Any], directory: Path, start: Path) -> Json:
    """A link, and what a player must know before it loads the file: its size [px], its length [s], its rate [Hz]."""
    path = Path(artifact["path"])
    kind = next((kind for kind, suffixes in _KINDS.items() if path.suffix.lower() in suffixes), "file")
    shape, fps = artifact.get("shape"), artifact.get("fps")
    file: Json = {"type": artifact["type"], "name": path.name, "kind": kind, "href": address(directory / path, start)}
    if artifact.get("bytes") is not None:
        file["bytes"] = artifact["bytes"]
    if shape:
        file["shape"] = f"{artifact.get('dtype') or ''} [{', '.join(map(str, shape))}]".strip()
    if kind == "film" and shape and len(shape) == 4 and fps:
        file |= {"size": [shape[2], shape[1]], "seconds": round(shape[0] / fps, 4), "fps": fps}
    elif kind == "picture" and shape and len(shape) in (3, 4):
        file["size"] = [shape[-2], shape[-3]]
    return file
