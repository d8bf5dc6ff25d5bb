"""The summary run of a sweep: one W&B run with a table, one row a job."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.records import Record
from strands_diffusers.results import RunInfo
from strands_diffusers.trackers.wandb import WandbTracker


@dataclass(frozen=True)
class SweepRow:
    """What the table says of one job."""

    job: str
    """The job's name, or its folder's."""

    status: str
    """`done`, `skipped` or `failed`."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What was swept, by its config path: `{"seed": 3, "sampler.guidance_scale": 2.0}`. Each becomes a column."""

    prompt: str = ""
    """The job's prompt."""

    video: Path | None = None
    """Its film."""

    timeseries: Path | None = None
    """Picture of its action curves."""

    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """`{metric: {value name: value}}`. Each becomes a column `<metric>.<value name>`."""

    seconds: float | None = None
    """Wall seconds of the job."""

    error: str | None = None
    """The failure's one line."""


def rows_of(jobs: Sequence[Record]) -> list[SweepRow]:
    """The table's rows for the jobs of a finished sweep."""
    parsed = [dict(override.partition("=")[::2] for override in job.overrides) for job in jobs]
    keys = {key for each in parsed for key in each} - {"output_dir", "resume"}  # where, not what
    swept = {key for key in keys if len({each.get(key) for each in parsed}) > 1}
    return [
        SweepRow(
            job=job.name,
            status=job.status,
            overrides={key: value for key, value in overrides.items() if key in swept},
            prompt=job.prompt,
            video=_first(job.directory, "video.mp4"),
            timeseries=_first(job.directory, "timeseries.png"),
            metrics=job.metrics,
            seconds=job.total_seconds or None,
            error=job.error or None,
        )
        for job, overrides in zip(jobs, parsed, strict=True)
    ]


def _first(directory: Path, name: str) -> Path | None:
    """The job's file of that name, or its first sample's."""
    return next((p for p in (directory / name, directory / "sample_00" / name) if p.is_file()), None)


def log_sweep(
    rows: Sequence[SweepRow],
    directory: Path,
    config: Mapping[str, Any],
    *,
    tracker: WandbTracker.Config | None = None,
    group: str | None = None,
) -> list[str]:
    """Log a finished sweep as one run with `job_type` `sweep` and the table `sweep`; return the tracker's notes.

    `directory` is the sweep's folder: the run and copies of the table's media lie in its `wandb` folder. `config` is
    what the jobs share. `group` is the jobs' own group (default: the folder's name). The summary counts the jobs by
    status as `jobs/<status>`, and holds what `sweep.json` says of the whole: each verdict's line as `verdict/<name>`, its
    numbers as `verdict/<name>/<number>`; its tables are logged under their own names, its pictures
    as `plots/<file>` (`plots/horizon`). Never raises: what goes wrong is
    in the notes.
    """
    log = WandbTracker(tracker)
    group = group or directory.name
    log.start(RunInfo(name=f"{group} summary", directory=directory, config=config, job_type="sweep", group=group))
    log.log_rows("sweep", [_cells(row) for row in rows])
    whole = _whole(directory)
    for table in whole.get("tables") or ():
        log.log_rows(
            table["name"].replace(": ", "/"), [dict(zip(table["columns"], r, strict=True)) for r in table["rows"]]
        )
    log.log_pictures(
        {f"plots/{Path(each['path']).stem}": directory / each["path"] for each in whole.get("pictures") or ()}
    )
    count = Counter(row.status for row in rows)
    failed = count["failed"]
    log.update_summary(
        {f"jobs/{status}": number for status, number in count.items()} | _verdicts(whole.get("verdicts") or ())
    )
    error = f"{failed} of {len(rows)} jobs failed" if failed else ""
    log.finish(Record(directory, "failed" if failed else "done", error=error))
    return log.notes()


def _whole(directory: Path) -> dict[str, Any]:
    """The sweep's `sweep.json`, which is written first; empty where there is none."""
    try:
        value = json.loads((directory / "sweep.json").read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _verdicts(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Verdicts as plain summary values: `verdict/action_sensitivity`, `verdict/action_sensitivity/psnr_moving_db.none`."""
    values: dict[str, Any] = {}

    def add(key: str, value: Any, mark: str) -> None:
        if isinstance(value, Mapping):
            for name, item in value.items():
                add(f"{key}{mark}{name}", item, ".")
        else:
            values[key] = value

    for verdict in found:
        key = f"verdict/{verdict['name']}"
        values[key] = verdict["verdict"]
        add(key, verdict["numbers"], "/")
    return values


def _cells(row: SweepRow) -> dict[str, Any]:
    swept = {path: value for path, value in row.overrides.items() if path != "prompt"}  # it has a column anyway
    measured = {f"{metric}.{name}": value for metric, values in row.metrics.items() for name, value in values.items()}
    return {
        "job": row.job,
        "status": row.status,
        **swept,
        "prompt": row.prompt,
        "video": row.video,
        "timeseries": row.timeseries,
        **measured,
        "seconds": row.seconds,
        "error": row.error,
    }
