"""What a sweep's folder holds already: rollouts matched by what made them (their hash), never by their number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strands_diffusers import records
from strands_diffusers.errors import ConfigError, first_few
from strands_diffusers.records import Record
from strands_diffusers.runner.job import Job

SWEEPS = "multirun"


def sweep_folder(resume: str, cwd: Path) -> Path:
    """The folder that `resume=` names; `last` is the latest sweep below `multirun/`. Raises: `ConfigError`."""
    if resume == "last":
        found = sorted(
            (p.parent for p in (cwd / SWEEPS).glob("*/*/multirun.yaml")), key=lambda p: (p.parent.name, p.name)
        )
        if not found:
            raise ConfigError(f"resume=last: there is no sweep below {cwd / SWEEPS}. Name its folder: resume=DIR.")
        return found[-1]
    folder = cwd / Path(resume).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"resume={resume}: there is no such folder. Name a sweep's folder, or resume=last.")
    return folder.resolve()


def by_hash(folder: Path) -> dict[str, Record]:
    """The jobs of a sweep's folder; of the same rollout a whole done one comes before a failed one."""
    found: dict[str, Record] = {}
    for record in records.jobs(folder) if folder.is_dir() else []:
        known = found.get(record.hash)
        if record.hash and (known is None or (not _usable(known) and _usable(record))):
            found[record.hash] = record
    return found


def _usable(record: Record) -> bool:
    return record.done and record.whole()


def is_generated(job: Job, record: Record | None) -> bool:
    """Whether the record's rollouts, and every file that the job asks for, are there."""
    if record is None or not _usable(record):
        return False
    possible = {s.name for s in job.serializers if "rollout" in s.output_types or {*s.output_types} & job.wanted}
    return not possible.intersection(missing(record, "output", job.tree["output"]))


def missing(record: Record, group: str, wanted: Mapping[str, Any], version: str | None = None) -> dict[str, Any]:
    """What of `wanted`, options by name, is to be made: it is new, has other options, failed or is of another version."""
    before, failed = record.config.get(group) or {}, {problem.what for problem in record.problems}

    def made(name: str) -> bool:
        events = [e for e in record.history if e.get("what") == "generated" or name in (e.get(group) or ())]
        return version is None or (bool(events) and events[-1].get("version") == version)

    return {
        name: options
        for name, options in wanted.items()
        if before.get(name) != options or f"{group} {name}" in failed or not made(name)
    }


def why_not(identity: Mapping[str, Any], done: Mapping[str, Record]) -> str | None:
    """In what the nearest done job differs: `seed 1 -> 2, versions.torch 2.12 -> 2.13`; None where there is no job."""
    mine = records.flat(identity)
    nearest: list[str] | None = None
    for record in done.values():
        theirs = records.flat(record.identity)
        keys = [k for k in sorted(mine.keys() | theirs.keys()) if mine.get(k) != theirs.get(k)]
        changes = [f"{k} {_short(theirs.get(k))} -> {_short(mine.get(k))}" for k in keys]
        if record.done and (nearest is None or len(changes) < len(nearest)):
            nearest = changes
    return None if nearest is None else first_few(nearest, 4)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
