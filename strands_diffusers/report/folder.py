"""Read what the jobs of a folder left behind: their manifests, their failures, and the sweep's own record.

The runner documents these files; here they are read by their keys. A file that is broken, or of another version, costs
its own job and is named on the page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from strands_diffusers.errors import ReportError

MANIFEST, FAILURE, SWEEP = "manifest.json", "failure.json", "sweep.json"
SCHEMA_VERSION = 1
"""Version of the records that this reader knows."""

_REQUIRED = {
    MANIFEST: ("overrides", "config", "seed", "rollout", "samples", "artifacts", "metrics", "seconds", "started", "finished"),
    FAILURE: ("overrides", "error", "stage"),
    SWEEP: ("jobs",),
}  # fmt: skip
"""What the page needs of each record."""

Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Job:
    """One job's records. Exactly one of `manifest`, `failure` and `row` alone tells how it ended."""

    number: str
    """Its folder's name; in a sweep, the job's number."""

    status: Status
    """`skipped`: a resumed sweep found it done."""

    directory: Path | None
    """Its folder; None for a job that could not even leave one."""

    manifest: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    """Its line in `sweep.json`, or empty."""


@dataclass(frozen=True)
class Folder:
    """A folder of jobs."""

    directory: Path
    jobs: tuple[Job, ...]
    single: bool
    """Whether it is the folder of one job, not of a sweep."""

    sweep: Mapping[str, Any]
    """`sweep.json`, or empty."""

    notes: tuple[str, ...]
    """What could not be read, a sentence each."""


def read_folder(directory: Path) -> Folder:
    """Read a sweep's folder, or that of one job.

    Raises: `ReportError` where there is no such folder, or none of its jobs has finished or failed.
    """
    directory = Path(directory).absolute()
    if not directory.is_dir():
        raise ReportError(
            f"{directory} is not a folder. Type strands-diffusers report DIR with a sweep's or a job's folder."
        )
    notes: list[str] = []
    sweep = _read(directory, SWEEP, notes) or {}
    rows = {str(row["number"]): row for row in sweep.get("jobs", ())}
    folders = sorted((p for p in directory.iterdir() if p.is_dir()), key=_natural)
    jobs = [job for path in folders if (job := _job(path, rows.get(path.name, {}), notes))]
    own = _job(directory, {}, notes) if not jobs else None
    known = {job.number for job in jobs}
    for number, row in rows.items():
        if number not in known and row["status"] in ("failed", "skipped"):
            jobs.append(Job(number, row["status"], None, row=row))
        elif number not in known:
            notes.append(f"Job {number}: {SWEEP} lists it as {row['status']}, but its {MANIFEST} is gone.")
    jobs.sort(key=lambda job: _natural(Path(job.number)))
    unfinished = [p.name for p in folders if p.name.isdigit() and p.name not in known and p.name not in rows]
    if own:
        jobs.append(own)
    elif unfinished and jobs:
        notes.append(f"Neither finished nor failed when this page was made: {', '.join(unfinished)}.")
    if not jobs:
        raise ReportError(f"{directory} holds no finished or failed job.{_advice(directory, notes)}")
    return Folder(directory, tuple(jobs), own is not None, sweep, tuple(notes))


def _job(directory: Path, row: Mapping[str, Any], notes: list[str]) -> Job | None:
    manifest = _read(directory, MANIFEST, notes)
    if manifest:
        return Job(
            directory.name, "skipped" if row.get("status") == "skipped" else "done", directory, manifest, row=row
        )
    failure = _read(directory, FAILURE, notes)
    return Job(directory.name, "failed", directory, failure=failure, row=row) if failure else None


def _read(directory: Path, name: str, notes: list[str]) -> dict[str, Any] | None:
    """Return a record, or None where there is none or, said in `notes`, it cannot be read."""
    where = f"{directory.name}/{name}"
    try:
        value = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(f"{where} cannot be read ({type(error).__name__}): left out.")
        return None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        notes.append(f"{where} has schema version {version}, and this page reads {SCHEMA_VERSION}: left out.")
        return None
    missing = [key for key in _REQUIRED[name] if key not in value]
    if missing:
        notes.append(f"{where} lacks {', '.join(missing)}: left out.")
        return None
    return value  # type: ignore[no-any-return]


def _natural(path: Path) -> tuple[bool, int, str]:
    """Numbers first, by value (`5-1` after `5`); then names."""
    digits = path.name.partition("-")[0]
    return (not digits.isdecimal(), int(digits) if digits.isdecimal() else 0, path.name)


def _advice(directory: Path, notes: list[str]) -> str:
    """Say what else is there: unreadable records, or jobs further down."""
    if notes:
        return f" {notes[0]}"
    for pattern in ("*/*", "*/*/*"):
        for name in (MANIFEST, FAILURE):
            for found in sorted(directory.glob(f"{pattern}/{name}")):
                return f" There are jobs further down: type strands-diffusers report {found.parent.parent}"
    return " Give the folder of a sweep (multirun/DATE/TIME) or of one job (outputs/DATE/TIME)."
