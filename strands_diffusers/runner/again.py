"""Measure and draw finished jobs again, from the files on disk: no model is loaded, no rollout is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from strands_diffusers import records
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, ReportError, StrandsDiffusersError, one_line
from strands_diffusers.metrics.horizon import HorizonMetric
from strands_diffusers.observations.rollouts import read_rollouts
from strands_diffusers.outputs.canvas import load_matplotlib
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Record
from strands_diffusers.results import OUTPUT_TYPES
from strands_diffusers.runner import folders, outputs, provenance, resume

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
    directories: Sequence[Path | str], group: str, overrides: Sequence[str], workers: int | None, anew: bool
) -> Iterator[Again]:
    """The work of `measure` and `redraw`, a job at a time as each ends."""
    prepare()
    options = compose.to_tree(compose.compose(overrides))[group] if overrides else None  # None: each job's own
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


def complete(record: Record, wanted: Options, limit_s: float | None) -> Record:
    """Measure and draw what is `wanted` of a finished job; return its new record, which is on disk and keeps its history.

    Raises: `ObservationError` where files of the job are gone or were changed.
    """
    metrics, visualizers = (_chosen(group, wanted.get(group, {})) for group in ("metric", "visualizer"))
    needed = {t for item in (*metrics, *visualizers) for t in item.output_types}
    rollouts = read_rollouts(record, OUTPUT_TYPES if "rollout" in needed else needed)
    with folders.claimed(record.directory), records.staging(record.directory) as private:
        made = outputs.produce(rollouts, private, record.directory, (), visualizers, metrics, limit_s, observed=False)
        drawn = [records.file_entry(artifact, record.directory) for artifact in made.artifacts]
        paths = {entry.path for entry in drawn}
        trust = next((metric for metric in metrics if isinstance(metric, HorizonMetric)), None)
        samples = [
            replace(
                s,
                metrics={**{k: v for k, v in s.metrics.items() if k not in wanted.get("metric", {})}, **values},
                details={**s.details, **(trust.facts(rollout) if trust else {})},
            )
            for s, rollout, values in zip(record.samples, rollouts, made.metrics, strict=True)
        ]
        again = {f"{group} {name}" for group, options in wanted.items() for name in options}
        record = replace(
            record,
            samples=tuple(samples),
            metrics=outputs.mean([s.metrics for s in samples]),
            artifacts=(*(entry for entry in record.artifacts if entry.path not in paths), *drawn),
            problems=(*(problem for problem in record.problems if problem.what not in again), *made.problems),
            config={**record.config, **{g: {**(record.config.get(g) or {}), **o} for g, o in wanted.items()}},
            history=(
                *record.history,
                *(provenance.event(_DONE[group], **{group: sorted(o)}) for group, o in wanted.items() if o),
            ),
        )
        records.write(record)
    return record


_DONE = {"metric": "measured", "visualizer": "drawn"}


def _chosen(group: str, options: Mapping[str, Any]) -> list[Any]:
    """The metrics or visualizers of a record, with their options. Raises: `ConfigError` for options that are no more."""
    found = {}
    for name, values in options.items():
        try:
            found[name] = OmegaConf.to_object(OmegaConf.merge(plugins().find(group, name).Config, values))
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            raise ConfigError(
                f"{group} {name}: the record's options are not this version's: {one_line(error)}"
            ) from error
    return plugins().chosen(group, found)


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


def _one(work: tuple[Path, str, dict[str, Any] | None, bool]) -> Again:
    directory, group, options, anew = work
    record = records.read(directory)
    assert record is not None
    wanted = dict((record.config.get(group) or {}) if options is None else options)
    if not anew:
        version = provenance.versions().get("strands-diffusers", "")
        wanted = resume.missing(record, group, wanted, version)
    if not wanted:
        return Again(record, "skipped")
    try:
        limit_s = record.config.get("hook_timeout_s", guard.LIMIT_S)
        return Again(complete(record, {group: wanted}, limit_s), "done")
    except (StrandsDiffusersError, OSError) as error:
        return Again(record, "failed", one_line(error))
