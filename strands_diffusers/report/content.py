"""Everything that the page shows of a folder of jobs, as plain JSON-ready data."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from strands_diffusers.report.axes import Axis, axes, config_of, counted, differences, flat
from strands_diffusers.report.drawing import Drawings
from strands_diffusers.report.entries import entry
from strands_diffusers.report.folder import Folder, Job
from strands_diffusers.report.numbers import metric_columns, metrics_of, pictures, tables, verdicts

_FACTS = (
    "seed", "model", "engine", "guardrail", "peak_memory_mb", "versions", "git", "command", "hash", "started", "finished",
)  # fmt: skip
"""Keys of a manifest that say how a job was run."""

_DATED = re.compile(r"[\d_-]+")
"""Names that Hydra gives by itself: dates, times, numbers."""

_LONG = 12
"""A folder that all values of an axis share is left out of their names where it is longer than this."""

Json = dict[str, Any]


def content(folder: Folder) -> Json:
    """Return the page's data: the jobs in order, and what they share."""
    jobs, notes, drawings = folder.jobs, list(folder.notes), Drawings()
    swept, shared = axes(jobs)
    columns, differing = metric_columns(jobs), differences(jobs)
    facts = [_facts(job) for job in jobs]
    common = _common(facts)
    entries = []
    for index, job in enumerate(jobs):
        found = entry(job, folder.directory, drawings, notes)
        found["axes"] = [axis.of_job[index] for axis in swept]
        found["metrics"] = [metrics_of(job).get(column["metric"], {}).get(column["value"]) for column in columns]
        found["facts"] = [[key, value] for key, value in facts[index].items() if key not in common]
        found["differs"] = [[key, values[index]] for key, values in differing.items()]
        entries.append(found)
        notes += [
            f"{'The rollout' if folder.single else f'Job {job.number}'}: {note}"
            for note in (job.manifest or {}).get("notes", ())
        ]
    started, elapsed = _time(jobs)
    return {
        "title": _title(folder, swept, shared),
        "folder": str(folder.directory),
        "made": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "started": started,
        "elapsed": elapsed,
        "settings": _settings(jobs),
        "axes": [{"key": a.key, "label": a.label, "values": list(a.values), "names": _names(a.values)} for a in swept],
        "shared": [[key, value] for key, value in shared.items()],
        "facts": [[key, value] for key, value in common.items()],
        "metrics": columns,
        "differences": [{"key": key, "values": counted(values)} for key, values in differing.items()],
        "verdicts": verdicts(folder.sweep, notes),
        "tables": tables(folder.sweep, notes),
        "pictures": pictures(folder.sweep, folder.directory, notes),
        "layouts": drawings.layouts,
        "jobs": entries,
        "notes": notes,
    }


def _facts(job: Job) -> dict[str, str]:
    record = job.manifest or {}
    return flat({key: record[key] for key in _FACTS if record.get(key) is not None})


def _common(facts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is the same in every job that has facts."""
    present = [own for own in facts if own]
    first = present[0] if present else {}
    return {key: value for key, value in first.items() if all(own.get(key) == value for own in present)}


def _settings(jobs: Sequence[Job]) -> list[str]:
    """Model, mode, domain and engine, each where all jobs agree."""
    configs = [config for job in jobs if (config := flat(config_of(job)))]
    agreed = {
        key: values.pop()
        for key in ("model.name", "condition.mode", "domain.name", "engine.name")
        if len(values := {config.get(key) for config in configs}) == 1
    }
    if agreed.get("condition.mode") in ("text", "image", "video"):
        agreed.pop("domain.name", None)
    words = {"condition.mode": lambda name: name.replace("_", " "), "engine.name": lambda name: f"engine {name}"}
    return [words.get(key, str)(value) for key, value in agreed.items() if value]


def _title(folder: Folder, swept: Sequence[Axis], shared: Mapping[str, str]) -> str:
    """The experiment's name, else the folder's where a person chose it, else what was swept."""
    if shared.get("experiment") not in (None, "null", "None"):
        return shared["experiment"]
    if not _DATED.fullmatch(folder.directory.name):
        return folder.directory.name
    if folder.single:
        mode = (config_of(folder.jobs[0]).get("condition") or {}).get("mode") or ""
        return f"{mode.replace('_', ' ').capitalize()} rollout".strip()
    labels = [axis.label for axis in swept]
    listed = ", ".join(labels[:-1]) + " and " + labels[-1] if len(labels) > 1 else "".join(labels)
    return f"Sweep over {listed}" if listed else f"{len(folder.jobs)} jobs"


def _time(jobs: Sequence[Job]) -> tuple[str | None, float | None]:
    """When the first job began (ISO), and seconds from then to the last one's end."""
    spans = [(job.manifest["started"], job.manifest["finished"]) for job in jobs if job.manifest]
    if not spans:
        return None, None
    read = datetime.datetime.fromisoformat
    first, last = min(read(start) for start, _ in spans), max(read(end) for _, end in spans)
    return first.isoformat(timespec="minutes"), (last - first).total_seconds()


def _names(values: Sequence[str]) -> list[str]:
    """The values without the folder that all of them are in."""
    first, last = min(values, default=""), max(values, default="")  # what these two share, all share
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = first[:same].rfind("/") + 1
    return [value[start:] if start > _LONG else value for value in values]
