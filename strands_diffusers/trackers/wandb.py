"""Weights & Biases: the only door to wandb. Whatever goes wrong in there is noted and never loses a rollout.

What a dashboard finds, for the job's (first) sample:

| key                       | what                                                                          |
|---------------------------|-------------------------------------------------------------------------------|
| `video`, `sound`, `image` | the rollout's own files                                                       |
| `plots/<visualizer>`      | a picture or film of each visualizer                                          |
| `action/table`            | the action chunk: `step`, `chunk`, then one column per dimension, model space |
| `action/<column>`         | the same as curves over `action/step` (step t of chunk k counts k*T + t)      |
| `given_action/<column>`   | the actions that a forward-dynamics rollout was given                         |
| `reference_action/...`    | the observation's true actions, where there are any                           |
| `metrics/<metric>.<value>`| what the metrics measured                                                     |
| `seconds/<stage>`         | wall seconds of each stage                                                    |
| summary `status`, `error` | `done` or `failed`, and the error's one line                                  |

With `sampler.num_samples` > 1 every sample stands under `sample_00/`, `sample_01/`, ... with the same keys, so that
none overwrites another; the first also has the plain keys, so that jobs of any kind share the same panels. What was
drawn over all samples is logged with the first one: `plots/spread`.

Offline run folders upload with `wandb sync`. Their media lie inside them and survive a move to another place or
machine; only the table's artifact is found by absolute path (wandb's rule), so sync before moving to keep that too.
"""

import logging
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.config import schema
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.records import Record
from strands_diffusers.results import Artifact, Rollout, RunInfo
from strands_diffusers.trackers.wandb_action import STEP, action_columns, curve_keys, curve_points, table_rows
from strands_diffusers.trackers.wandb_media import cache_inside, media, media_keys, staging_inside
from strands_diffusers.trackers.wandb_server import WandbMode, choose_mode, first_line, give_up_server, restart_service

DEFAULT_PROJECT = "strands-diffusers"

_NAME_LIMIT = 128  # characters of a run name, group or project that the server takes
_TAG_LIMIT = 64
_PROJECT_REFUSES = set("/\\#?%:")

_log = logging.getLogger(__name__)


class WandbTracker(Tracker):
    """Log each job as a Weights & Biases run, online or into its folder; a failure there never loses a rollout."""

    name = "wandb"

    @dataclass
    class Config(schema.TrackerConfig):
        """Where the run goes, and how long a job may wait for the server."""

        project: str | None = None
        """Project; null: WANDB_PROJECT, else `strands-diffusers`. At most 128 characters, none of `/ \\ # ? % :`."""

        entity: str | None = None
        """Team or user; null: WANDB_ENTITY, else the account's default."""

        mode: WandbMode = WandbMode.auto
        """auto, online, offline or disabled. auto: WANDB_MODE wins; else online with a key, offline without."""

        tags: list[str] = field(default_factory=list)
        """Tags added to the run's own, 1 to 64 characters each."""

        notes: str | None = None
        """A longer description, shown on the run's page."""

        init_timeout_s: float = 20.0
        """How long opening a run may wait for the server [s], > 0. Then this process stays offline, and says so."""

        upload_timeout_s: float = 120.0
        """How long closing a run may wait for uploads [s], > 0. What is late stays on disk, for `wandb sync`."""

        system_metrics: bool = False
        """Also log the machine's load (GPU, CPU, memory), every 15 s."""

        def __post_init__(self) -> None:
            for name in ("init_timeout_s", "upload_timeout_s"):
                seconds = getattr(self, name)
                if not seconds > 0:
                    raise ConfigError(f"tracker.{name} must be > 0 seconds, got {seconds}. Type tracker.{name}=20.")
            if self.project is not None and not (
                0 < len(self.project) <= _NAME_LIMIT and _PROJECT_REFUSES.isdisjoint(self.project)
            ):
                raise ConfigError(
                    f"tracker.project={self.project!r} is not a W&B project name: 1 to {_NAME_LIMIT} characters, "
                    f"none of / \\ # ? % :. Type tracker.project={DEFAULT_PROJECT}, for example."
                )
            for tag in self.tags:
                if not 0 < len(tag) <= _TAG_LIMIT:
                    raise ConfigError(
                        f"tracker.tags holds {tag!r}: a W&B tag has 1 to {_TAG_LIMIT} characters. Shorten it."
                    )

    config: Config

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._run: Any = None
        self._notes: list[str] = []

    def start(self, run: RunInfo) -> None:
        """Open the run in `<job folder>/wandb`, beside any run that the caller has open."""
        with self._noting("could not open a run"), cache_inside(run.directory / "wandb"):
            try:
                self._run = self._open(run)
            except Exception as error:
                if not restart_service(error):
                    raise
                self._run = self._open(run)

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Log each sample: metrics and seconds, then media, then the action's curves, then its table."""
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
        prefixes = _prefixes(rollout.sample)
        measured = {f"metrics/{metric}.{name}": v for metric, values in metrics.items() for name, v in values.items()}
        measured |= {f"seconds/{stage}": seconds for stage, seconds in rollout.seconds.items()}
        numbers = {prefix + key: float(value) for prefix in prefixes for key, value in measured.items()}
        shown: dict[str, Any] = {}
        for prefix in prefixes:
            for key, paths in media_keys(artifacts).items():
                with self._noting(f"could not show {prefix}{key}"):
                    files = [media(path, _caption(rollout)) for path in paths]
                    shown[prefix + key] = files if len(files) > 1 else files[0]
        for what, payload in (("metrics", numbers), ("media", shown)):
            if payload:
                with self._noting(f"could not log the {what}"):
                    self._run.log(payload)
        with self._noting("could not log the action"):
            self._log_action(rollout, prefixes)

    def log_rows(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log a table of one row per mapping; a `Path` becomes the picture, film or sound that it names.

        The columns are the rows' keys in the order in which they first appear. The files are copied into the run's
        own folder.
        """
        if self._run is None:
            return
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self._noting(f"could not log {key}"):
            self._log_table(key, columns, [[self._cell(column, row.get(column)) for column in columns] for row in rows])

    def log_pictures(self, pictures: Mapping[str, Path]) -> None:
        """Log files, each under its key, as the picture or film that they are."""
        for key, path in pictures.items():
            if self._run is not None:
                with self._noting(f"could not show {key}"):
                    self._run.log({key: media(path)})

    def update_summary(self, values: Mapping[str, Any]) -> None:
        """Add plain values to the run's summary."""
        if self._run is not None:
            with self._noting("could not record the summary"):
                self._run.summary.update(dict(values))

    def finish(self, record: Record) -> None:
        """Close the run: `status` and `error` into its summary, exit code 1 unless `status` is `done`.

        wandb's service process writes the last block some milliseconds after this returns.
        Of `details`, `seconds` (`{stage: s}`) is logged as `seconds/<stage>`; other plain values go to the summary.
        """
        run, self._run = self._run, None
        if run is None:
            return
        with self._noting("could not record the status"):
            seconds = {
                f"seconds/{stage}": float(value)
                for stage, value in record.seconds.items()
                if isinstance(value, int | float)
            }
            if seconds:
                run.log(seconds)
            run.summary.update({"status": record.status, "error": record.error or None, "hash": record.hash})
        folder = Path(run.dir).parent
        page = None if run.offline else run.url
        problems = len(self._notes)
        with self._noting("could not finish the upload"):
            run.finish(exit_code=0 if record.done else 1)
        if page and len(self._notes) == problems:
            self._notes.append(f"W&B run: {page}")
        else:
            self._notes.append(f"W&B run kept on disk. Upload it with: wandb sync {shlex.quote(str(folder))}")

    def summarize(self, directory: Path, records: Sequence[Record]) -> list[str]:
        """Log a finished sweep as one run with a table, one row a job."""
        from strands_diffusers.trackers.wandb_sweep import log_sweep, rows_of

        parent = directory.parent.name
        group = f"{parent}_{directory.name}" if parent.startswith("20") else directory.name
        rows = rows_of(records)
        return log_sweep(rows, directory, {"jobs": len(rows)}, tracker=self.config, group=group)

    def notes(self) -> list[str]:
        """What went wrong, then where the run is: its page, or the `wandb sync` line."""
        return list(self._notes)

    def _open(self, info: RunInfo) -> Any:
        mode, why = choose_mode(self.config.mode)
        if why:
            self._notes.append(why)
        if mode == "disabled":
            return None
        if mode == "offline":
            return self._init(info, mode)
        before = set(_run_folders(info.directory))
        try:
            return self._init(info, mode)
        except Exception as error:  # noqa: BLE001 - the tracker's boundary: whatever it was, the run is kept offline
            for folder in set(_run_folders(info.directory)) - before:
                shutil.rmtree(folder, ignore_errors=True)  # else `wandb sync` would upload an empty run
            run = self._init(info, "offline")
            where = "for the rest of this process" if give_up_server(error) else "this time"
            self._notes.append(f"W&B is not reachable ({first_line(error)}): runs are kept offline {where}.")
            return run

    def _init(self, info: RunInfo, mode: str) -> Any:
        import wandb

        config = self.config
        tags = dict.fromkeys(tag[:_TAG_LIMIT] for tag in (*info.tags, *config.tags) if tag)
        return wandb.init(
            # `mode=` beats WANDB_MODE; `choose_mode` has read that already.
            mode=mode,  # type: ignore[arg-type]
            project=config.project or wandb.setup().settings.project or DEFAULT_PROJECT,
            entity=config.entity,
            dir=str(info.directory),
            name=info.name[:_NAME_LIMIT],
            group=info.group[:_NAME_LIMIT] if info.group else None,
            job_type=info.job_type,
            tags=list(tags),
            notes=config.notes,
            config=dict(info.config),
            reinit="create_new",  # a run that the caller has open is none of our business
            settings=wandb.Settings(
                silent=True,
                console="off",
                symlink=False,
                disable_git=True,
                save_code=False,
                label_disable=True,
                x_disable_meta=True,
                x_disable_machine_info=not config.system_metrics,
                x_disable_stats=not config.system_metrics,
                x_save_requirements=False,
                init_timeout=config.init_timeout_s,
                finish_timeout=config.upload_timeout_s,
                finish_timeout_raises=True,
            ),
        )

    def _log_action(self, rollout: Rollout, prefixes: Sequence[str]) -> None:
        columns = action_columns(rollout)
        for prefix in prefixes:
            step = prefix + STEP
            self._run.define_metric(step, hidden=True, summary="none")
            for key in curve_keys(rollout, columns):
                self._run.define_metric(prefix + key, step_metric=step, summary="none")
        for point in curve_points(rollout, columns):
            self._run.log({prefix + key: value for prefix in prefixes for key, value in point.items()})
        if columns and rollout.action is not None:
            # Last: online, wandb asks the server about each table, and waits for the answer.
            for prefix in prefixes:
                self._log_table(f"{prefix}action/table", ["step", "chunk", *columns], table_rows(rollout.action))

    def _log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
        import wandb

        table = wandb.Table(columns=columns, data=data, allow_mixed_types=True)
        with staging_inside(Path(self._run.dir).parent):
            self._run.log({key: table})

    def _cell(self, column: str, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        with self._noting(f"could not show {column}"):
            return media(value)
        return None

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Turn an exception into a note."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the tracker's boundary: a rollout is never lost to its dashboard
            _log.debug("W&B %s", what, exc_info=True)
            give_up_server(error)
            self._notes.append(f"W&B {what}: {first_line(error)}")


def _run_folders(directory: Path) -> list[Path]:
    return list((directory / "wandb").glob("run-*"))


def _prefixes(sample: int | None) -> list[str]:
    if sample is None:
        return [""]
    return ["", "sample_00/"] if sample == 0 else [f"sample_{sample:02d}/"]


def _caption(rollout: Rollout) -> str:
    seed = "" if rollout.seed is None else f"seed {rollout.seed}"
    return " · ".join(part for part in (rollout.prompt[:200], seed) if part)


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [WandbTracker]
