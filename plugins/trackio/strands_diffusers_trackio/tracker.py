"""`tracker=trackio`: each job is a run in Trackio's local database; `trackio show` is the dashboard.

What a run holds, at step 0 but for the curves:

| key                              | what                                                                               |
|----------------------------------|------------------------------------------------------------------------------------|
| `video`, `sound`, `image`        | the rollout's own files; of several samples `video/00`, `video/01`, ...            |
| `observation`, `reference`       | what was seen, and the true frames where there are any                             |
| `plots/<visualizer>`             | what each visualizer drew; of several samples what it drew over all of them        |
| `metrics/<metric>.<value>`       | as in the manifest: of several samples the mean                                    |
| `samples`                        | of several samples: a table of their seeds and metrics                             |
| `action/<column>/<whose>`        | curves in model space over the action step (step t of chunk k counts k*T + t);     |
|                                  | whose: `predicted` (of several samples `sample_00`, ...), `given`, `true`          |
| `seconds/<stage>`                | wall seconds of each stage                                                         |
| `status`, `error`, `problems`    | `done` or `failed`, why, and what else failed                                      |
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import io
import os
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers import Rollout, RunInfo, Tracker, domains, errors
from strands_diffusers.records import Record

DEFAULT_PROJECT = "strands-diffusers"

_MEDIA = {
    ".png": "Image", ".jpg": "Image", ".jpeg": "Image", ".webp": "Image", ".mp4": "Video", ".webm": "Video",
    ".gif": "Video", ".wav": "Audio", ".mp3": "Audio",
}  # fmt: skip
"""The Trackio class that shows a file; files of other kinds stay in the job's folder alone."""

_OWN_TYPES = ("video", "sound", "action", "image", "mesh", "observation", "reference")
"""Types of files that no visualizer drew."""


class TrackioTracker(Tracker):
    """Log each job as a run of a Trackio dashboard on this machine: no account, no server, no upload."""

    name = "trackio"

    @dataclass
    class Config(Tracker.Config):
        """Where the run goes. The database is Trackio's own: TRACKIO_DIR, by default in the Hugging Face cache."""

        project: str | None = None
        """Project; null: TRACKIO_PROJECT, else `strands-diffusers`."""

        system_metrics: bool = False
        """Also log the machine's load (CPU, memory, GPU), every 10 s."""

        def __post_init__(self) -> None:
            if self.project is not None and (not self.project.strip() or "/" in self.project):
                raise errors.ConfigError(
                    f"tracker.project={self.project!r} is not a Trackio project name: it needs a letter, and no '/'. "
                    f"Type tracker.project={DEFAULT_PROJECT}."
                )

    config: Config

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._run: Any = None
        self._notes: list[str] = []

    @property
    def project(self) -> str:
        """The project that runs go to."""
        return self.config.project or os.environ.get("TRACKIO_PROJECT") or DEFAULT_PROJECT

    def start(self, run: RunInfo) -> None:
        """Open a run of its own, beside any that the caller has open."""
        import trackio

        for variable in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            if place := os.environ.get(variable):
                place = place.partition("?")[0].rpartition("@")[2]  # without a token or a password
                self._notes.append(f"Trackio sends this run to {place}, as {variable} says.")
        theirs = getattr(trackio, "config", None)
        mark = run.id[:8] or datetime.datetime.now().astimezone().strftime("%m-%d %H-%M-%S")
        options = {
            "name": f"{run.name} {mark}",  # Trackio tells runs apart by their names
            "resume": "allow" if run.id else "never",
            "group": run.group,
            "config": _flat(run.config) | {"job_type": run.job_type, "tags": ", ".join(run.tags), "folder": str(run.directory)},
            "auto_log_cpu": self.config.system_metrics,
            "auto_log_gpu": self.config.system_metrics,
        }  # fmt: skip
        with self._quiet():
            # An empty context: in the caller's, `init` would close the run that the caller has open.
            self._run = contextvars.Context().run(lambda: trackio.init(self.project, **options))
        trackio.config = theirs

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Log a finished job: numbers and media at step 0, then the curves of its actions."""
        if self._run is None:
            return
        import trackio

        found: dict[str, Any] = {f"metrics/{key}": value for key, value in _numbers(record.metrics).items()}
        with self._quiet():
            found |= self._media(record)
            if len(record.samples) > 1:
                rows = [{"sample": s.index, "seed": s.seed, **_numbers(s.metrics)} for s in record.samples]
                found["samples"] = trackio.Table(data=rows)
            if found:
                self._run.log(found, step=0)
            for step, point in enumerate(_curves(rollouts)):
                self._run.log(point, step=step)

    def finish(self, record: Record) -> None:
        """Write the seconds and the status, and close the run: everything is in the database when this returns."""
        run, self._run = self._run, None
        if run is None:
            return
        import trackio

        stages = {key: value for key, value in record.seconds.items() if isinstance(value, int | float)}
        said = {"status": record.status, "error": record.error, "problems": "; ".join(map(str, record.problems))}
        found = {f"seconds/{stage}": float(value) for stage, value in stages.items()}
        with self._quiet():
            run.log(found | {key: value for key, value in said.items() if value}, step=0)
            if not record.done:
                run.alert("rollout failed", record.error, level=trackio.AlertLevel.ERROR)
            for problem in record.problems:
                run.alert(problem.what, problem.error, level=trackio.AlertLevel.WARN)
            run.finish()
        self._notes.append(f"Trackio: trackio show --project {shlex.quote(self.project)}")

    def notes(self) -> list[str]:
        """What Trackio complained about, and the command that shows the dashboard."""
        return list(self._notes)

    def _media(self, record: Record) -> dict[str, Any]:
        """The files that Trackio can show, by key; several of one key are numbered."""
        import trackio

        several = len(record.samples) > 1
        groups: dict[str, list[Path]] = {}
        for entry in record.artifacts:
            of_one = several and any(entry.path.startswith(sample.prefix) for sample in record.samples)
            if Path(entry.path).suffix.lower() in _MEDIA and not (of_one and entry.type not in _OWN_TYPES):
                key = entry.type if entry.type in _OWN_TYPES else f"plots/{entry.type}"
                groups.setdefault(key, []).append(record.directory / entry.path)
        seeds = [f"seed {sample.seed}" for sample in record.samples[:1] if sample.seed is not None]
        caption = " · ".join(part for part in (record.prompt[:200], *seeds) if part)
        shown = {}
        for key, paths in groups.items():
            for number, path in enumerate(paths):
                if path.is_file():
                    kind = getattr(trackio, _MEDIA[path.suffix.lower()])
                    shown[key if len(paths) == 1 else f"{key}/{number:02d}"] = kind(path, caption=caption)
                else:
                    self._notes.append(f"Trackio: {path} is not there to be shown.")
        return shown

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep Trackio's chatter off the terminal; its complaints become notes."""
        with warnings.catch_warnings(record=True) as complaints, contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("always")
            yield
        said = [
            f"Trackio: {' '.join(str(item.message).split())[:200]}"
            for item in complaints
            if issubclass(item.category, UserWarning)
        ]
        self._notes += [line for line in dict.fromkeys(said) if line not in self._notes]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `condition.chunk_size`: the dashboard's table has a column for each."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _numbers(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{metric}.{name}": float(value) for metric, values in metrics.items() for name, value in values.items()}


def _curves(rollouts: Sequence[Rollout]) -> Iterator[dict[str, float]]:
    """For each step of the longest chunk, the value of every curve that reaches it."""
    if not rollouts or rollouts[0].domain is None:
        return
    columns = [column.name for column in domains.get(rollouts[0].domain).columns]
    curves = {"predicted" if r.sample is None else f"sample_{r.sample:02d}": r.action for r in rollouts}
    curves |= {"given": rollouts[0].given_action, "true": rollouts[0].reference_action}
    rows = {name: chunks.reshape(-1, chunks.shape[-1]) for name, chunks in curves.items() if chunks is not None}
    for step in range(max(map(len, rows.values()), default=0)):
        yield {
            f"action/{column}/{name}": float(value)
            for name, rows_SD in rows.items()
            if step < len(rows_SD)
            for column, value in zip(columns, rows_SD[step], strict=True)
        }
