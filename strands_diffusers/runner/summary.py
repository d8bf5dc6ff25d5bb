"""What a sweep leaves behind: `sweep.json`, its page, its summary run, and the table at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.errors import StrandsDiffusersError, one_line
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.records import FileEntry, Record, SampleRecord
from strands_diffusers.runner import manifest
from strands_diffusers.runner.progress import Failed

log = logging.getLogger(__name__)
SWEEP = "sweep.json"


@dataclass(frozen=True)
class Row:
    """One job of a sweep."""

    number: str
    """Its folder's name."""

    status: str
    """done, skipped (done before this command) or failed."""

    overrides: list[str]
    error: str | None = None
    stage: str | None = None
    seconds: float | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def rows(directory: Path, since: float = 0.0, told: Iterable[Failed] = ()) -> list[Row]:
    """The jobs of a sweep's folder; those complete before `since` (a `time.time()`) count as skipped.

    `told`: what is known of failed jobs, whose folders may hold no record, or an older one, where the disk is full.
    """
    found = []
    for folder in (p for p in directory.iterdir() if p.is_dir()):
        done, failed = manifest.read(folder), manifest.read_failure(folder)
        if done:
            before = (folder / manifest.MANIFEST).stat().st_mtime < since
            seconds = round(sum(v for v in done["seconds"].values() if isinstance(v, int | float)), 3)
            status = "skipped" if before else "done"
            found.append(Row(folder.name, status, done["overrides"], None, None, seconds, done["metrics"]))
        elif failed:
            found.append(Row(folder.name, "failed", failed["overrides"], failed["error"], failed.get("stage")))
    lost = {job.number: Row(job.number, "failed", job.overrides, job.error, job.stage) for job in told}
    return sorted(
        [*(row for row in found if row.number not in lost), *lost.values()], key=lambda row: _natural(row.number)
    )


def _natural(name: str) -> tuple[int, str]:
    digits = name.split("-")[0]
    return (int(digits), name) if digits.isdigit() else (1 << 30, name)


def write(directory: Path, found: Sequence[Row], extra: Mapping[str, Any] | None = None) -> None:
    """Write `sweep.json` beside the jobs."""
    record = {
        "schema_version": manifest.SCHEMA_VERSION,
        "finished": manifest.now(),
        "jobs": [asdict(row) for row in found],
        **(extra or {}),
    }
    manifest.write_json(directory / SWEEP, record)


def conclude(
    directory: Path, since: float, tracker: Tracker | None, told: Iterable[Failed] = ()
) -> tuple[list[Row], list[str]]:
    """Write `sweep.json`, the page and the tracker's summary of a sweep; return its rows and lines for the terminal."""
    from strands_diffusers.report import write_report

    found: list[Row] = rows(directory, since, told)
    extra, notes = _judged(directory, len(found))
    write(directory, found, extra)
    if tracker:
        try:
            notes += tracker.summarize(directory, [_typed(directory, row) for row in found])
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the sweep is on disk
            notes.append(f"tracker {tracker.name} could not summarize the sweep: {one_line(error)}")
    try:
        notes.append(f"page: {write_report(directory)}")
    except (StrandsDiffusersError, OSError) as error:
        log.warning("the page could not be written: %s", one_line(error))
    return found, notes


def _typed(directory: Path, row: Row) -> Record:
    """A row of the sweep as trackers read it."""
    folder = directory / row.number
    done = manifest.read(folder) or {}
    samples = [
        SampleRecord(index=each.get("sample"), seed=each.get("seed"), prompt=each.get("prompt", ""))
        for each in done.get("samples") or [done.get("rollout") or {}]
    ]
    return Record(
        folder,
        "failed" if row.status == "failed" else "done",
        done.get("hash", ""),
        overrides=tuple(row.overrides),
        config=done.get("config", {}),
        samples=tuple(samples),
        artifacts=tuple(FileEntry(entry["path"], entry["type"]) for entry in done.get("artifacts", ())),
        metrics=row.metrics,
        error=row.error or "",
        stage=row.stage or "",
        seconds=done.get("seconds", {}),
    )


def _draw_horizon(directory: Path, curves: Sequence[Any]) -> Path:
    from strands_diffusers.outputs.horizon import draw_horizon
    from strands_diffusers.runner import evaluation

    line = "mean absolute error in model space, over observations"
    line += "; bands: 95 % intervals" if any(curve.band_T2 is not None for curve in curves) else ""
    return draw_horizon(
        directory / evaluation.HORIZON, curves, "Error of the predicted actions along the horizon", line
    )


def _judged(directory: Path, total: int) -> tuple[dict[str, Any], list[str]]:
    """The sweep's verdicts, its tables over observations and their picture, for `sweep.json`; and their lines for the terminal."""
    from strands_diffusers.runner import evaluation, futures, verdicts

    extra: dict[str, Any] = {}
    notes: list[str] = []
    jobs = list(futures.finished(directory))
    if judged := verdicts.judge(directory, jobs):
        extra["verdicts"] = judged
        notes += [f"{verdict['name']}: {verdict['verdict']}" for verdict in judged]
    try:
        if lines := evaluation.lines(jobs):
            extra["tables"] = evaluation.tables(lines, sum(1 for _, record in jobs if record["metrics"]), total)
            files = evaluation.write(directory, lines, extra["tables"])
            notes.append(f"tables over observations: {files[-1]}")
            if curves := evaluation.along_horizon(jobs):
                picture = _draw_horizon(directory, curves)
                extra["pictures"] = [{"name": "error along the horizon", "path": picture.name}]
                notes.append(f"error along the horizon: {picture}")
    except (StrandsDiffusersError, OSError) as error:
        log.warning("the tables over observations could not be written: %s", one_line(error))
    return extra, notes
