"""The tracker: opens a run, logs a job's record and rollouts to it, closes it; and a sweep's summary run."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import records as stored
from strands_diffusers.config import schema
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.results import Rollout, RunInfo
from strands_diffusers.trackers.wandb import tables
from strands_diffusers.trackers.wandb.environment import PROJECT_REFUSES, environment, staging_inside
from strands_diffusers.trackers.wandb.media import as_table, caption, charts, media, media_keys
from strands_diffusers.trackers.wandb.server import (
    WandbMode,
    choose_mode,
    first_line,
    give_up_server,
    restart_service,
)

if TYPE_CHECKING:
    from strands_diffusers.records import Record
    from strands_diffusers.records.sweep import Entries

DEFAULT_PROJECT = "strands-diffusers"

_NAME_LIMIT = 128  # characters of a run name, group or project that the server takes
_TAG_LIMIT = 64

_log = logging.getLogger(__name__)


class WandbTracker(Tracker):
    """Log each job as a Weights & Biases run, online or into its folder; a failure there never loses a rollout."""

    name = "wandb"

    @dataclass
    class Config(schema.Options):
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
                0 < len(self.project) <= _NAME_LIMIT and PROJECT_REFUSES.isdisjoint(self.project)
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

    @property
    def limit_s(self) -> float:
        """More than wandb's own time limits."""
        return 60.0 + self.config.init_timeout_s + self.config.upload_timeout_s

    def start(self, run: RunInfo) -> None:
        """Open the run in `<job folder>/wandb`, beside any run that the caller has open."""
        folder = run.directory / "wandb"
        with self._noting("could not open a run"), environment(folder, of_a_sweep=bool(run.group)) as unreadable:
            try:
                self._run = self._open(run, unreadable)
            except Exception as error:
                if not restart_service(error):
                    raise
                self._run = self._open(run, unreadable)

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Log a finished job: its metrics, its media, then what is an artifact.

        Artifacts come last: online, wandb asks the server about each and waits for the answer.
        """
        if self._run is None:
            return
        self._send("the metrics", tables.leaves(record.metrics, "metrics/"))
        self._show(media_keys(record), caption(record))
        with self._noting("could not log the action"), self._staging():
            if drawn := charts(rollouts):
                self._run.log(drawn)
        if len(record.samples) > 1:
            self._log_table("samples", tables.sample_rows(record))
        with self._noting("could not log the manifest"), self._staging():
            self._log_artifact(record)

    def progress(self, step: int, values: Mapping[str, float], files: Mapping[str, Path]) -> None:
        """Log numbers and files against `step`, a key of its own."""
        if self._run is not None:
            self._send("the progress", {"step": step, **values})
            self._show({key: [path] for key, path in files.items()})

    def finish(self, record: Record) -> None:
        """Close the run: how the job ended into its summary, its problems as tags, exit code 1 unless it is done.

        wandb's service process writes the last block some milliseconds after this returns.
        """
        run, self._run = self._run, None
        if run is None:
            return
        with self._noting("could not record the status"):
            if seconds := {f"seconds/{stage}": value for stage, value in _numbers(record.seconds)}:
                run.log(seconds)
            problems = [str(problem) for problem in record.problems]
            run.summary.update({"status": record.status, "error": record.error or None, "problems": problems})
            if record.hash:
                run.summary.update({"hash": record.hash})
            if problems:
                run.tags = (*run.tags, *_tags(["problems", *(f"failed: {each.what}" for each in record.problems)]))
        folder = Path(run.dir).parent
        page = None if run.offline else run.url
        before = len(self._notes)
        with self._noting("could not finish the upload"):
            run.finish(exit_code=0 if record.done else 1)
        if page and len(self._notes) == before:
            self._notes.append(f"W&B run: {page}")
        else:
            self._notes.append(f"W&B run kept on disk. Upload it with: wandb sync {shlex.quote(str(folder))}")

    def summarize(self, run: RunInfo, records: Sequence[Record]) -> list[str]:
        """Log a finished sweep as one run: a table with one row a job, and what the sweep's `sweep.json` says."""
        log = WandbTracker(self.config)
        log.start(run)
        if log._run is not None:
            log._log_table("sweep", tables.sweep_rows(records))
            counts = Counter(record.status for record in records)
            log._run.summary.update({f"jobs/{status}": count for status, count in counts.items()})
            sweep, lost = stored.read_sweep(run.directory)
            log._notes += [f"W&B could not log what {stored.SWEEP} says: {note}" for note in lost]
            with log._noting(f"could not log what {stored.SWEEP} says"):
                log._log_findings(run.directory, sweep)
        failed = sum(not record.done for record in records)
        line = f"{failed} of {len(records)} jobs failed" if failed else ""
        log.finish(stored.Record(run.directory, "failed" if failed else "done", error=line))
        notes = log.notes()
        if notes and "/offline-run-" in notes[-1]:  # as the jobs' runs are, then
            folder = shlex.quote(str(run.directory))
            runs = f"{folder}/wandb/offline-run-* {folder}/*/wandb/offline-run-*"
            notes[-1] = f"W&B runs kept on disk. Upload them with: wandb sync {runs}"
        return notes

    def notes(self) -> list[str]:
        """What went wrong, then where the run is: its page, or the `wandb sync` line."""
        return list(self._notes)

    def _open(self, info: RunInfo, unreadable: Sequence[str]) -> Any:
        mode, why = choose_mode(self.config.mode)
        if mode == "disabled":
            return None
        if unreadable:
            mode, why = "offline", f"W&B is left offline: {'; '.join(unreadable)}."
        if why and why not in self._notes:
            self._notes.append(why)
        before = set(_run_folders(info.directory))
        for folder in before:  # of the same job, tried earlier: this run replaces it
            if info.id and folder.name.endswith(f"-{info.id}"):
                shutil.rmtree(folder, ignore_errors=True)
        if mode == "offline":
            return self._init(info, mode)
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
        return wandb.init(
            # `mode=` beats WANDB_MODE; `choose_mode` has read that already.
            mode=mode,  # type: ignore[arg-type]
            project=config.project or wandb.setup().settings.project or DEFAULT_PROJECT,
            entity=config.entity,
            dir=str(info.directory),
            id=info.id or None,
            resume="allow" if info.id and mode != "offline" else None,
            name=info.name[:_NAME_LIMIT],
            group=info.group[:_NAME_LIMIT] if info.group else None,
            job_type=info.job_type,
            tags=_tags((*info.tags, *config.tags)),
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

    def _log_findings(self, directory: Path, sweep: Entries) -> None:
        for table in sweep["tables"]:
            rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
            self._log_table(table["name"].replace(": ", "/"), rows)
        pictures = [directory / each["path"] for each in sweep["pictures"]]
        self._show({f"plots/{path.stem}": [path] for path in pictures})
        for each in sweep["verdicts"]:
            key = f"verdict/{each['name']}"
            self._run.summary.update({key: each["verdict"]} | tables.leaves(each["numbers"], f"{key}/"))

    def _send(self, what: str, values: Mapping[str, Any]) -> None:
        if values:
            with self._noting(f"could not log {what}"):
                self._run.log(dict(values))

    def _show(self, files: Mapping[str, Sequence[Path]], caption: str | None = None) -> None:
        """Log files as the pictures, videos and sounds that they are; several of one key are a gallery."""
        shown: dict[str, Any] = {}
        for key, paths in files.items():
            with self._noting(f"could not show {key}"):
                found = [media(path, caption) for path in paths]
                shown[key] = found if len(found) > 1 else found[0]
        self._send("the media", shown)

    def _log_table(self, key: str, rows: Iterable[tables.Row]) -> None:
        """Log a table; a `Path` in it becomes the picture, video or sound that it names."""
        cells = [{column: self._cell(column, value) for column, value in row.items()} for row in rows]
        with self._noting(f"could not log {key}"), self._staging():
            if (table := as_table(cells)) is not None:
                self._run.log({key: table})

    def _cell(self, column: str, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        with self._noting(f"could not show {column}"):
            return media(value)
        return None

    def _log_artifact(self, record: Record) -> None:
        import wandb

        files = [entry.path for entry in record.artifacts if entry.type == "action"]
        artifact = wandb.Artifact(f"rollout-{self._run.id}", type="rollout", metadata={"hash": record.hash})
        for path in (stored.MANIFEST, *files):
            if (record.directory / path).is_file():
                artifact.add_file(str(record.directory / path), path)
        self._run.log_artifact(artifact)

    def _staging(self) -> Any:
        return staging_inside(Path(self._run.dir).parent)

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
    return [*(directory / "wandb").glob("run-*"), *(directory / "wandb").glob("offline-run-*")]


def _tags(tags: Iterable[str]) -> list[str]:
    """Tags as W&B takes them: each once, no longer than it allows."""
    return list(dict.fromkeys(tag[:_TAG_LIMIT] for tag in tags if tag))


def _numbers(seconds: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The stages of a job and those of its model call, on one level."""
    for stage, value in seconds.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float):
            yield stage, float(value)
