"""`tracker=trackio`: each job is a run in Trackio's local database; `trackio show` is the dashboard.

What a run holds (those of `sampler.num_samples` > 1 under `sample_00/`, `sample_01/`, ..., the first also without):

| key                                    | step        | what                                                    |
|----------------------------------------|-------------|---------------------------------------------------------|
| `video`, `sound`, `image`              | 0           | the rollout's own files                                 |
| `plots/<visualizer>`                   | 0           | a picture or film of each visualizer                    |
| `metrics/<metric>.<value>`             | 0           | what the metrics measured                               |
| `action/<column>`, `given_action/...`, | action step | curves in model space; step t of chunk k counts k*T + t |
| `reference_action/<column>`            |             |                                                         |
| `seconds/<stage>`, `status`, `error`   | 0           | wall seconds of each stage; `done` or `failed`, and why |
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

from strands_diffusers import Artifact, Rollout, RunInfo, Tracker, domains, errors
from strands_diffusers.records import Record

DEFAULT_PROJECT = "strands-diffusers"

_MEDIA = {
    ".png": "Image", ".jpg": "Image", ".jpeg": "Image", ".webp": "Image", ".mp4": "Video", ".webm": "Video",
    ".gif": "Video", ".wav": "Audio", ".mp3": "Audio",
}  # fmt: skip
"""The Trackio class that shows a file; files of other kinds stay in the job's folder alone."""

_OWN_TYPES = ("video", "sound", "action", "image", "mesh")


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
            if os.environ.get(variable):
                self._notes.append(f"Trackio sends this run to {os.environ[variable]}, as {variable} says.")
        theirs = getattr(trackio, "config", None)
        stamp = datetime.datetime.now().astimezone().strftime("%m-%d %H-%M-%S")
        options = {
            "name": f"{stamp} {run.name}",  # Trackio tells runs apart by their names
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
        """Log each sample: numbers and media at step 0, then the curves of its actions."""
        for rollout, sample in zip(rollouts, record.samples, strict=True):
            files = record.artifacts if sample.index == 0 else record.files_of(sample)
            artifacts = [
                Artifact(record.directory / f.path, f.type)
                for f in files
                if f.path.startswith(sample.prefix) or not f.path.startswith("sample_")
            ]
            self._log_sample(rollout, artifacts, sample.metrics)

    def _log_sample(
        self, rollout: Rollout, artifacts: Sequence[Artifact], metrics: Mapping[str, Mapping[str, float]]
    ) -> None:
        if self._run is None:
            return
        there = [artifact for artifact in artifacts if artifact.path.is_file()]
        self._notes += [f"Trackio: {a.path} is not there to be shown." for a in artifacts if a not in there]
        with self._quiet():
            for prefix in _prefixes(rollout.sample):
                numbers = {
                    f"metrics/{m}.{name}": float(v) for m, values in metrics.items() for name, v in values.items()
                }
                shown = _media(there, _caption(rollout))
                found = {prefix + key: value for key, value in {**numbers, **shown}.items()}
                if found:
                    self._run.log(found, step=0)
                for step, point in enumerate(_curves(rollout)):
                    self._run.log({prefix + key: value for key, value in point.items()}, step=step)

    def finish(self, record: Record) -> None:
        """Write the seconds and the status, and close the run: everything is in the database when this returns."""
        run, self._run = self._run, None
        if run is None:
            return
        import trackio

        seconds = {
            f"seconds/{stage}": float(value)
            for stage, value in record.seconds.items()
            if isinstance(value, int | float)
        }
        with self._quiet():
            run.log({**seconds, "status": record.status, **({"error": record.error} if record.error else {})}, step=0)
            if not record.done:
                run.alert("rollout failed", record.error, level=trackio.AlertLevel.ERROR)
            run.finish()
        self._notes.append(f"Trackio: trackio show --project {shlex.quote(self.project)}")

    def notes(self) -> list[str]:
        """What Trackio complained about, and the command that shows the dashboard."""
        return list(self._notes)

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


def _prefixes(sample: int | None) -> list[str]:
    if sample is None:
        return [""]
    return ["", "sample_00/"] if sample == 0 else [f"sample_{sample:02d}/"]


def _caption(rollout: Rollout) -> str:
    seed = "" if rollout.seed is None else f"seed {rollout.seed}"
    return " · ".join(part for part in (rollout.prompt[:200], seed) if part)


def _media(artifacts: Sequence[Artifact], caption: str) -> dict[str, Any]:
    """The files that Trackio can show, by key; several of one key are numbered."""
    import trackio

    groups: dict[str, list[Path]] = {}
    for artifact in artifacts:
        if artifact.path.suffix.lower() in _MEDIA:
            key = artifact.type if artifact.type in _OWN_TYPES else f"plots/{artifact.type}"
            groups.setdefault(key, []).append(artifact.path)
    shown = {}
    for key, paths in groups.items():
        for number, path in enumerate(paths):
            kind = getattr(trackio, _MEDIA[path.suffix.lower()])
            shown[key if len(paths) == 1 else f"{key}/{number:02d}"] = kind(path, caption=caption)
    return shown


def _curves(rollout: Rollout) -> Iterator[dict[str, float]]:
    """For each step of the longest chunk, the value of every curve that reaches it."""
    if rollout.domain is None:
        return
    columns = [column.name for column in domains.get(rollout.domain).columns]
    chunks = {
        "action": rollout.action, "given_action": rollout.given_action, "reference_action": rollout.reference_action,
    }  # fmt: skip
    rows = {name: c.reshape(-1, c.shape[-1]) for name, c in chunks.items() if c is not None}
    for step in range(max(map(len, rows.values()), default=0)):
        yield {
            f"{name}/{column}": float(value)
            for name, rows_SD in rows.items()
            if step < len(rows_SD)
            for column, value in zip(columns, rows_SD[step], strict=True)
        }
