"""Measure and draw finished jobs again, from the files on disk: no model is loaded, no rollout is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strands_diffusers import records
from strands_diffusers.config import compose
from strands_diffusers.errors import ReportError, StrandsDiffusersError, one_line
from strands_diffusers.metrics.horizon import HorizonMetric
from strands_diffusers.observations.rollouts import read_rollouts
from strands_diffusers.outputs.style import load_matplotlib
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Metric, Visualizer
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Record
from strands_diffusers.results import OUTPUT_TYPES
from strands_diffusers.runner import folders, outputs, provenance

Options = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""`{"metric": {name: options}, "visualizer": {name: options}}`."""


@dataclass(frozen=True)
class Again:
    """What was done with one finished job."""

    record: Record
    status: str
    """`done`, `skipped` (it had all of it already) or `failed`."""

    error: str = ""


def measure(
    directories: Sequence[Path | str], *overrides: str, workers: int | None = None, anew: bool = False
) -> list[Again]:
    """Measure finished jobs again: a job's folder, a sweep's, or several.

    `overrides` choose metrics and their options as on the command line (`metric=[video]`); without any, every job's own.
    A metric that this version measured of a job, with equal options and without a problem, is left as it is unless `anew`. `workers`: jobs
    measured side by side in processes; None: one per core.

    Raises: `ConfigError` for wrong overrides; `ReportError` for a folder without a finished job.
    """
    return list(each(directories, "metric", overrides, workers, anew))


def redraw(
    directories: Sequence[Path | str], *overrides: str, workers: int | None = None, anew: bool = True
) -> list[Again]:
    """Draw finished jobs again; as `measure`, with `visualizer=[...]`. Drawn anew unless `anew=False`."""
    return list(each(directories, "visualizer", overrides, workers, anew))


def each(
    directories: Sequence[Path | str],
    group: str,
    overrides: Sequence[str],
    workers: int | None = None,
    anew: bool = False,
) -> Iterator[Again]:
    """The work of `measure` and `redraw`, a job at a time as each ends."""
    prepare()
    options = _options(group, overrides)
    found = [record for directory in directories for record in _finished(Path(directory).expanduser())]
    yield from (Again(record, "failed", record.error) for record in found if not record.done)
    jobs = [record.directory for record in found if record.done]
    count = min(len(jobs), workers or os.cpu_count() or 1)
    work = [(path, group, options, anew) for path in jobs]
    if count < 2:
        yield from map(_one, work)
        return
    if group == "visualizer":
        load_matplotlib()  # once, for all workers
    with ProcessPoolExecutor(count, initializer=prepare) as pool:
        yield from pool.map(_one, work)


def complete(
    record: Record,
    metrics: Sequence[Metric],
    visualizers: Sequence[Visualizer],
    options: Options,
    limit_s: float | None,
) -> Record:
    """Measure and draw a finished job; return its new record, which is on disk and keeps its history.

    Raises: `ObservationError` where files of the job are gone or were changed.
    """
    needed = {t for item in (*metrics, *visualizers) for t in item.output_types}
    rollouts = read_rollouts(record, OUTPUT_TYPES if "rollout" in needed else needed)
    with folders.claimed(record.directory), records.staging(record.directory) as private:
        made = outputs.produce(rollouts, private, record.directory, (), visualizers, metrics, limit_s, observed=False)
        drawn = {str(a.path.relative_to(record.directory)) for a in made.artifacts}
        entries = [entry for entry in record.artifacts if entry.path not in drawn]
        entries += [records.file_entry(a, record.directory) for a in made.artifacts]
        trust = next((metric for metric in metrics if isinstance(metric, HorizonMetric)), None)
        samples = [
            replace(
                s,
                metrics={**{k: v for k, v in s.metrics.items() if k not in options.get("metric", {})}, **values},
                details={**s.details, **(trust.facts(rollout) if trust else {})},
            )
            for s, rollout, values in zip(record.samples, rollouts, made.metrics, strict=True)
        ]
        again = {f"{kind} {name}" for kind in ("metric", "visualizer") for name in options.get(kind, {})}
        problems = [problem for problem in record.problems if problem.what not in again]
        config = {**record.config}
        for group, chosen_options in options.items():
            config[group] = {**(config.get(group) or {}), **chosen_options}
        events = [
            provenance.event(what, **{group: sorted(options[group])})
            for group, what in (("metric", "measured"), ("visualizer", "drawn"))
            if options.get(group)
        ]
        record = replace(
            record,
            samples=tuple(samples),
            metrics=outputs.mean([s.metrics for s in samples]) if len(samples) > 1 else samples[0].metrics,
            artifacts=tuple(entries),
            problems=(*problems, *made.problems),
            config=config,
            history=(*record.history, *events),
        )
        records.write(record)
    return record


def _options(group: str, overrides: Sequence[str]) -> dict[str, Any] | None:
    """The options of each chosen metric or visualizer, as plain trees; None where each job keeps its own choice."""
    if not overrides:
        return None
    config = compose.compose(overrides)
    tree: dict[str, Any] = compose.to_tree(config)[group]
    return tree


def _finished(directory: Path) -> list[Record]:
    """The finished jobs of a folder, and the damaged ones, which are named."""
    if not directory.is_dir():
        raise ReportError(f"{directory} is not a folder. Give the folder of a job, of a sweep, or several.")
    found = records.jobs(directory)
    if not any(record.done for record in found):
        deeper = sorted({path.parent.parent for path in directory.glob(f"*/*/{records.MANIFEST}")})
        found = [*found, *(record for folder in deeper for record in records.jobs(folder))]
    if not any(record.done for record in found):
        raise ReportError(f"{directory} holds no finished job.")
    return [record for record in found if record.done or record.status == "damaged"]


def _has(record: Record, group: str, name: str, options: Mapping[str, Any]) -> bool:
    """Whether this version measured or drew it, with these options and without a problem."""
    events = [e for e in record.history if e.get("what") == "generated" or name in (e.get(group) or ())]
    return (
        (record.config.get(group) or {}).get(name) == options
        and f"{group} {name}" not in {problem.what for problem in record.problems}
        and bool(events)
        and events[-1].get("version") == provenance.versions().get("strands-diffusers", "")
    )


def _one(work: tuple[Path, str, dict[str, Any] | None, bool]) -> Again:
    directory, group, options, anew = work
    record = records.read(directory)
    assert record is not None
    try:
        wanted = dict((record.config.get(group) or {}) if options is None else options)
        if not anew:
            wanted = {name: values for name, values in wanted.items() if not _has(record, group, name, values)}
        if not wanted:
            return Again(record, "skipped")
        configs = {name: plugins().find(group, name).Config(**values) for name, values in wanted.items()}
        objects = plugins().chosen(group, configs)
        pair = (objects, []) if group == "metric" else ([], objects)
        limit = record.config.get("hook_timeout_s", guard.LIMIT_S)
        return Again(complete(record, *pair, {group: wanted}, limit), "done")
    except (StrandsDiffusersError, OSError, TypeError) as error:
        return Again(record, "failed", one_line(error))
