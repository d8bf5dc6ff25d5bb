"""Everything that the page shows of its jobs, as plain JSON-ready data."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from strands_diffusers.records import Axis, Metrics, Record, differences, flat, swept
from strands_diffusers.records.axes import counted
from strands_diffusers.report.addresses import Shortener
from strands_diffusers.report.curves import Drawings
from strands_diffusers.report.entries import entry
from strands_diffusers.report.numbers import by_key, metric_columns, panels, pictures, tables, verdicts
from strands_diffusers.report.sweeps import Jobs

_SETTINGS = ("model", "condition", "sampler", "domain", "engine")
"""Nodes of the config that made the rollout; what draws, measures and logs it is left to the records."""

_ASIDE = ("sweep", "tracker", "hydra")
"""Nodes of the config that never tell two rollouts apart."""

_DATED = re.compile(r"[\d_-]+")
"""Names that Hydra gives by itself: dates, times, numbers."""

Json = dict[str, Any]


def content(found: Jobs) -> Json:
    """Return the page's data: the jobs in order, and what they share."""
    records, notes, drawings = [job.record for job in found.jobs], list(found.notes), Drawings()
    short = Shortener(found.start, _texts(records))
    axes, shared = swept(records)
    axes = [axis for axis in axes if axis.key.partition(".")[0] not in _ASIDE]
    columns = metric_columns(metrics for record in records for metrics in _measured(record))
    differing = {
        key: [short.value(value) for value in values]
        for key, values in differences(records).items()
        if key.partition(".")[0] in (*_SETTINGS, "seed", "prompt", "observation")
    }
    facts = [{key: short.value(value) for key, value in _facts(record).items()} for record in records]
    settings = [{key: short.value(value) for key, value in _settings(record).items()} for record in records]
    common, settled = _common(facts), _common(settings)
    contexts: dict[str, int] = {}

    def values(metrics: Metrics) -> list[float | None]:
        numbers = [metrics.get(column["metric"], {}).get(column["value"]) for column in columns]
        return [number if number is not None and abs(number) < float("inf") else None for number in numbers]

    entries = []
    for index, job in enumerate(found.jobs):
        own = entry(job, found.start, drawings, values, short, notes)
        own["axes"] = [axis.of_job[index] for axis in axes]
        own["context"] = contexts.setdefault(_context(job.record), len(contexts))
        own["facts"] = [[key, value] for key, value in facts[index].items() if key not in common]
        own["differs"] = [[key, values_[index]] for key, values_ in differing.items()]
        entries.append(own)
    notes += _said_by_jobs(found, short)
    done = [job.record for job in found.jobs if job.record.done]
    started, elapsed = _time(done)
    return {
        "title": _title(found, axes, shared),
        "made": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "started": started,
        "elapsed": elapsed,
        "summary": _summary(records),
        "axes": [
            {"key": axis.key, "label": axis.label, "values": [short.value(value) for value in axis.values]}
            for axis in axes
        ],
        "shared": [[key, short.value(value)] for key, value in shared.items()],
        "facts": [[key, value] for key, value in common.items()],
        "settings": [[key, value] for key, value in settled.items()],
        "metrics": columns,
        "charts": by_key(done, axes, columns) if len(done) > 1 else [],
        "differences": [{"key": key, "values": counted(own)} for key, own in differing.items()],
        "verdicts": verdicts(found.sweep, short.prose),
        "tables": tables(found.sweep),
        "pictures": pictures(found.sweep, found.start, notes),
        "panels": panels(found.start, records, notes),
        "layouts": drawings.layouts,
        "truths": drawings.truths,
        "jobs": entries,
        "notes": [short.prose(note) for note in notes],
    }


def _measured(record: Record) -> list[Metrics]:
    return [record.metrics, *(sample.metrics for sample in record.samples)]


def _texts(records: Sequence[Record]) -> list[str]:
    """Every text of the records that may hold a path of the author's."""
    found: dict[str, None] = {}
    for record in records:
        found |= dict.fromkeys(flat(record.config).values())
        found |= dict.fromkeys([*record.overrides, record.observation, *_facts(record).values()])
    return list(found)


def _facts(record: Record) -> dict[str, str]:
    """How a job was run: on what, by which versions."""
    weights = record.identity.get("content") if isinstance(record.identity, Mapping) else None
    known = {
        "seed": record.seed,
        "weights": weights.get("weights") if isinstance(weights, Mapping) else None,
        "git": record.git,
        "versions": record.versions,
        "plugins": record.plugins,
        "resolved": record.samples[0].details.get("resolved") if record.samples else None,
        "model": record.model,
        "engine": record.engine,
        "guardrail": record.guardrail,
        "peak_memory_mb": record.peak_memory_mb,
        "hash": record.hash,
        "started": record.started,
        "finished": record.finished,
    }
    found = flat({key: value for key, value in known.items() if value not in (None, "", {})})
    for index, step in enumerate(record.history):
        found[f"history.{index + 1}"] = ", ".join(f"{key} {value}" for key, value in flat(step).items())
    return found


def _settings(record: Record) -> dict[str, str]:
    """The resolved config that made the rollout, defaults included."""
    tree = {key: record.config[key] for key in _SETTINGS if isinstance(record.config.get(key), Mapping)}
    return {key: value for key, value in flat(tree).items() if not key.startswith("model.recommended.")}


def _common(facts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is the same in every job that has facts."""
    present = [own for own in facts if own]
    first = present[0] if present else {}
    return {key: value for key, value in first.items() if all(own.get(key) == value for own in present)}


def _context(record: Record) -> str:
    """What a rollout was asked for: only rollouts of one context can be better or worse than each other."""
    condition, domain = record.config.get("condition"), record.config.get("domain")
    name = domain.get("name") if isinstance(domain, Mapping) else None
    return json.dumps([record.prompt, record.observation, record.mode, condition, name], sort_keys=True, default=str)


def _said_by_jobs(found: Jobs, short: Shortener) -> list[str]:
    """What jobs warned of: each warning once, with the jobs that have it."""
    said: dict[str, list[str]] = {}
    for job in found.jobs:
        for note in job.record.notes:
            said.setdefault(short.prose(note), []).append(job.name)
    return [
        note if found.single else f"{'All jobs' if len(who) == len(found.jobs) else _listed(who)}: {note}"
        for note, who in said.items()
    ]


def _listed(jobs: Sequence[str]) -> str:
    shown = ", ".join(jobs[:6])
    return f"Job{'s' if len(jobs) > 1 else ''} {shown}{f' and {len(jobs) - 6} more' if len(jobs) > 6 else ''}"


def _summary(records: Sequence[Record]) -> list[str]:
    """Model, mode, domain and engine, each where all jobs agree."""
    configs = [config for record in records if (config := flat(record.config))]
    agreed = {
        key: values.pop()
        for key in ("model.name", "condition.mode", "domain.name", "engine.name")
        if len(values := {config.get(key) for config in configs}) == 1
    }
    if agreed.get("condition.mode") in ("text", "image", "video"):
        agreed.pop("domain.name", None)
    words = {"condition.mode": lambda name: name.replace("_", " "), "engine.name": lambda name: f"engine {name}"}
    return [words.get(key, str)(value) for key, value in agreed.items() if value]


def _title(found: Jobs, axes: Sequence[Axis], shared: Mapping[str, str]) -> str:
    """The experiment's name, else the folder's where a person chose it, else what was swept."""
    if shared.get("experiment") not in (None, "null", "None"):
        return shared["experiment"]
    if not _DATED.fullmatch(found.title):
        return found.title
    if found.single:
        return f"{found.jobs[0].record.mode.replace('_', ' ').capitalize()} rollout".strip()
    labels = [axis.label for axis in axes]
    listed = ", ".join(labels[:-1]) + " and " + labels[-1] if len(labels) > 1 else "".join(labels)
    return f"Sweep over {listed}" if listed else f"{len(found.jobs)} jobs"


def _time(done: Sequence[Record]) -> tuple[str | None, float | None]:
    """When the first job began (ISO), and seconds from then to the last one's end."""
    read = datetime.datetime.fromisoformat
    spans = [(read(record.started), read(record.finished)) for record in done if record.started and record.finished]
    try:
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
    except (TypeError, ValueError):  # none, or with and without a time zone
        return None, None
    return first.isoformat(timespec="minutes"), (last - first).total_seconds()
