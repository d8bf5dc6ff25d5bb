"""The jobs that a page shows: the records of one sweep, of one job, or of several sweeps that are compared.

A record that is damaged, or of another version, costs its own job and is named on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.errors import ReportError
from strands_diffusers.records import FAILURE, MANIFEST, SWEEP, Record
from strands_diffusers.records.record import by_number
from strands_diffusers.records.sweep import Entries
from strands_diffusers.report.addresses import ends

FOLDER = "folder"
"""The key that tells the sweeps of one page apart: every job gets it as an override."""


@dataclass(frozen=True)
class Job:
    """One job of the page."""

    name: str
    """Its number in its sweep; on a page of several sweeps `FOLDER/NUMBER`."""

    record: Record

    same_as: str = ""
    """The job whose rollout this one shares: the sweep asked for it twice."""


@dataclass(frozen=True)
class Jobs:
    """Everything that a page is made of."""

    start: Path
    """The folder that the page's addresses are relative to."""

    title: str
    """What the folders are called."""

    jobs: tuple[Job, ...]
    single: bool
    """Whether it is one job's own folder."""

    sweep: Entries
    """What `sweep.json` lists; empty for a single job and for several sweeps."""

    notes: tuple[str, ...]
    """What could not be read, a sentence each."""


def read_jobs(directories: Sequence[Path], start: Path) -> Jobs:
    """Read the jobs of one folder, or of several that are compared, for a page in the folder `start`.

    Raises: `ReportError` where a folder is none, or holds no job that finished or failed.
    """
    notes: list[str] = []
    names = _names(directories)
    found: list[Job] = []
    sweep: Entries = {}
    for directory, name in zip(directories, names, strict=True):
        jobs, sweep = _read_folder(directory, notes)
        if len(directories) > 1:
            own = f"{FOLDER}='" + name.replace("'", "\\'") + "'"
            overrides = {job.name: (*job.record.overrides, own) for job in jobs}
            jobs = [
                Job(
                    f"{name}/{job.name}" if job.record.directory != directory else name,
                    replace(job.record, overrides=overrides[job.name]),
                    f"{name}/{job.same_as}" if job.same_as else "",
                )
                for job in jobs
            ]
        found += jobs
    several = len(directories) > 1
    single = not several and found[0].record.directory == directories[0]
    return Jobs(start, " and ".join(names), tuple(found), single, {} if several else sweep, tuple(notes))


def _read_folder(directory: Path, notes: list[str]) -> tuple[list[Job], Entries]:
    if not directory.is_dir():
        raise ReportError(
            f"{directory} is not a folder. Type strands-diffusers report DIR with a sweep's or a job's folder."
        )
    sweep, left_out = records.read_sweep(directory)
    notes += left_out
    found: dict[str, Job] = {}
    damaged = []
    for record in records.jobs(directory):
        if record.status == "damaged":
            damaged.append(record.name)
            notes.append(f"{record.error} It is left out.")
        else:
            found[record.name] = Job(record.name, _inside(record, notes))
    missing: dict[str, list[str]] = {}
    for row in sweep["jobs"]:
        name, status = row["name"], str(row.get("status"))
        if name in found or name in damaged:
            continue
        overrides = tuple(map(str, row.get("overrides") or ())) if isinstance(row.get("overrides"), list) else ()
        twin = found.get(str(row.get("same_as")))
        if twin is not None:
            found[name] = Job(name, replace(twin.record, overrides=overrides), twin.name)
        elif status == "failed":
            error, stage = str(row.get("error") or ""), str(row.get("stage") or "")
            lost = Record(directory / Path(name).name, "failed", overrides=overrides, error=error, stage=stage)
            found[name] = Job(name, lost)
        else:
            missing.setdefault(status, []).append(name)
    if begun := missing.pop("not begun", []):
        notes.append(f"Not begun when this page was made: {', '.join(begun)}.")
    for status, lost_jobs in missing.items():
        notes.append(f"{SWEEP} lists as {status}, but without a {MANIFEST} now: {', '.join(lost_jobs)}.")
    known = {*found, *damaged, *(name for some in missing.values() for name in some), *begun}
    if unfinished := [p.name for p in directory.iterdir() if p.is_dir() and p.name.isdecimal() and p.name not in known]:
        unfinished.sort(key=lambda name: by_number(Path(name)))
        notes.append(f"Neither finished nor failed when this page was made: {', '.join(unfinished)}.")
    if not found:
        raise ReportError(f"{directory} holds no finished or failed job.{_advice(directory, notes)}")
    return sorted(found.values(), key=lambda job: by_number(Path(job.name))), sweep


def _inside(record: Record, notes: list[str]) -> Record:
    """The record without files that links lead out of its folder: the page neither shows nor reads them."""
    home = record.directory.resolve()
    kept = tuple(entry for entry in record.artifacts if (record.directory / entry.path).resolve().is_relative_to(home))
    if len(kept) < len(record.artifacts):
        left = ", ".join(entry.path for entry in record.artifacts if entry not in kept)
        notes.append(f"Job {record.name} lists files outside of its folder: {left}. They are left out.")
    return replace(record, artifacts=kept)


def _names(directories: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    if len(set(directories)) < len(directories):
        raise ReportError("a folder is named twice. Type strands-diffusers report A B with different folders.")
    return ends([directory.as_posix() for directory in directories])


def _advice(directory: Path, notes: Sequence[str]) -> str:
    """Say what else is there: records that cannot be read, or jobs further down."""
    if notes:
        return f" {notes[0]}"
    for pattern in ("*/*", "*/*/*"):
        for name in (MANIFEST, FAILURE):
            for found in sorted(directory.glob(f"{pattern}/{name}")):
                return f" There are jobs further down: type strands-diffusers report {found.parent.parent}"
    return " Give the folder of a sweep (multirun/DATE/TIME) or of one job (outputs/DATE/TIME)."
