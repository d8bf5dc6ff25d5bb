"""Keep workers busy with a sweep's jobs, replace those that die, and account for every job.

One loop for every backend, so that a killed process and a killed actor mean the same: the job is recorded as lost,
tried again as often as `sweep.retries` says, its worker is replaced, and the sweep goes on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers.errors import SweepError
from strands_diffusers.records import FAILURE, read
from strands_diffusers.runner.progress import Row, SweepProgress
from strands_diffusers_launchers.lost import record_lost_job
from strands_diffusers_launchers.messages import (
    Backend,
    Ended,
    Gone,
    Job,
    Line,
    Message,
    Moved,
    Stage,
    Started,
    Sweep,
    Worker,
)

log = logging.getLogger(__name__)

_STARTS = 3
"""How often in a row a worker may die before it began a job: then it is not the job's fault, nor bad luck."""

_INTERRUPT_S = 10.0
"""How long an interrupted job may take to drop its files and close its tracker run [s]."""


@dataclass
class _Running:
    """A job in a worker's hands."""

    job: Job
    started: Started | None = None
    directory: Path | None = None
    stage: str = "start"
    limit_began: float | None = None
    """Since when the job's time limit runs [monotonic seconds]; None while the model loads."""
    hung: str | None = None
    """Why its worker is being killed."""

    def deadline(self, grace_s: float) -> float | None:
        """When the worker counts as hung [monotonic seconds]."""
        if self.started is None or self.started.timeout_s is None or self.limit_began is None or self.hung:
            return None
        return self.limit_began + self.started.timeout_s + grace_s

    def note(self, stage: Stage) -> None:
        """The job got to a stage."""
        self.stage = stage.name
        if stage.loads:
            self.limit_began = None
        elif self.limit_began is None:
            self.limit_began = time.monotonic()


class Workers:
    """Workers that stay warm from one batch of jobs to the next."""

    def __init__(self, backend: Backend[Any], size: int, sweep: Sweep, grace_s: float) -> None:
        self.size = size
        self._backend, self._sweep, self._grace_s = backend, sweep, grace_s
        self._idle: list[Worker] = []
        self._running: dict[Worker, _Running] = {}
        self._closed = False

    def run(self, jobs: Sequence[Job], progress: SweepProgress | None = None) -> list[tuple[Job, Ended]]:
        """Run all jobs and return how each ended, in the order given.

        Raises: `SweepError` at the first failure where the sweep wants that, once the jobs that run have ended;
        `SweepError` where workers cannot start. Interrupted, it ends the workers and lets the exception through.
        """
        batch = _Batch(jobs, progress)
        try:
            while batch.todo or self._running:
                while batch.todo and not batch.stop and len(self._running) < self.size:
                    if progress:
                        progress.clear()
                    self._begin(batch.todo.popleft())
                if not self._running:
                    break
                for worker, message in list(self._backend.wait(list(self._running), self._wait_limit())):
                    self._handle(batch, worker, message)
                self._kill_hung()
        except BaseException:
            self._abort()
            raise
        if batch.stop:
            raise SweepError(batch.stop)
        return [(job, batch.ended[job.number]) for job in jobs]

    def close(self) -> None:
        """Let the workers end. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        while self._idle:
            self._idle.pop().end()
        self._backend.close()

    def _begin(self, job: Job) -> None:
        if self._idle:
            worker = self._idle.pop()
        else:
            taken = {worker.slot for worker in self._running}
            worker = self._backend.start(next(slot for slot in range(self.size) if slot not in taken))
        log.info("\t#%d : %s", job.number, " ".join(o for o in job.overrides if not o.startswith("hydra.")))
        worker.give(job)
        self._running[worker] = _Running(job)

    def _handle(self, batch: _Batch, worker: Worker, message: Message) -> None:
        running = self._running[worker]
        match message:
            case Started():
                running.started, running.limit_began = message, time.monotonic()
                running.directory = Path(message.directory)
                batch.false_starts = 0
            case Moved(directory):
                running.directory = Path(directory)
            case Line(line):
                batch.show_line(line)
            case Stage():
                running.note(message)
                batch.shows(running.job, message, len(self._running))
            case Ended():
                self._idle.append(worker)
                del self._running[worker]
                batch.ends(running.job, message)
                if message.status == "failed" and running.started and running.started.fail_fast:
                    batch.stop = f"stopped at the first failure (sweep.fail_fast=true): job {running.job.number}"
            case Gone():
                del self._running[worker]
                self._lose(batch, worker, running, message)

    def _lose(self, batch: _Batch, worker: Worker, running: _Running, gone: Gone) -> None:
        job, started, log_file = running.job, running.started, self._sweep.log(worker.slot)
        if started is None or running.directory is None:
            batch.starts_again(job, gone, log_file)
            return
        reason = f"its worker {running.hung or gone.reason}"
        lost = record_lost_job(
            running.directory, job.overrides, reason, stage=running.stage, since=started.since, log=log_file,
            output=_tail(log_file),
        )  # fmt: skip
        if not lost:
            batch.ends(job, Ended("done", value=_objective_of(running.directory)))
            return
        where = f"[{running.directory / FAILURE}, log {log_file}]"
        line = f"job {job.number} failed at {running.stage}: {' '.join(job.overrides)}: {reason}  {where}"
        failed = Row(running.directory.name, "failed", job.overrides, f"SweepError: {reason}", running.stage)
        batch.is_lost(job, started, Ended("failed", error=f"job {job.number}: {reason}", line=line, failed=failed))

    def _wait_limit(self) -> float | None:
        """How long to wait for a message: until a worker counts as hung [s]."""
        deadlines = [d for running in self._running.values() if (d := running.deadline(self._grace_s)) is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _kill_hung(self) -> None:
        for worker, running in self._running.items():
            deadline = running.deadline(self._grace_s)
            if deadline is None or time.monotonic() < deadline:
                continue
            assert running.started is not None
            limit = running.started.timeout_s
            running.hung = f"hung {self._grace_s:g} s beyond sweep.timeout_s={limit:g} and was killed"
            worker.kill()

    def _abort(self) -> None:
        """End all workers now. A job that does not drop its files in time is killed and recorded."""
        try:
            for worker in self._running:
                worker.interrupt()
            until = time.monotonic() + min(_INTERRUPT_S, self._grace_s)
            while self._running and (left := until - time.monotonic()) > 0:
                for worker, message in list(self._backend.wait(list(self._running), left)):
                    match message:
                        case Started():
                            self._running[worker].started = message
                            self._running[worker].directory = Path(message.directory)
                        case Moved(directory):
                            self._running[worker].directory = Path(directory)
                        case Gone():
                            self._drop(self._running.pop(worker), worker, message)
        finally:
            for worker, running in self._running.items():
                worker.kill()
                self._drop(running, worker, Gone("was killed when the sweep was interrupted"))
            self._running.clear()
            self.close()

    def _drop(self, running: _Running, worker: Worker, gone: Gone) -> None:
        if running.started and running.directory and not gone.recorded:
            reason = f"its worker {gone.reason}"
            record_lost_job(
                running.directory, running.job.overrides, reason, stage=running.stage, since=running.started.since,
                log=self._sweep.log(worker.slot),
            )  # fmt: skip


class _Batch:
    """The jobs of one call, and what became of them."""

    def __init__(self, jobs: Sequence[Job], progress: SweepProgress | None) -> None:
        self.todo = deque(jobs)
        self.ended: dict[int, Ended] = {}
        self.stop: str | None = None
        self.false_starts = 0
        self._lost: dict[int, int] = {}
        self._progress = progress

    def shows(self, job: Job, stage: Stage, running: int) -> None:
        """A job got to a stage."""
        if self._progress:
            self._progress.stage(f"{running} running, job {job.number} {stage.name}", stage.done, stage.total)

    def show_line(self, line: str) -> None:
        """Show a line of a job."""
        if self._progress:
            self._progress.say(line)
        else:
            log.info(line)

    def ends(self, job: Job, ended: Ended) -> None:
        """A job is over."""
        self.ended[job.number] = ended
        if self._progress:
            self._progress.ended(
                ended.failed or Row(ended.name or str(job.number), ended.status, job.overrides), ended.line
            )
        elif ended.line:
            log.error(ended.line)

    def is_lost(self, job: Job, started: Started, ended: Ended) -> None:
        """A job's worker died: the job is tried again at the end of the sweep, or has failed."""
        self._lost[job.number] = times = self._lost.get(job.number, 0) + 1
        if times <= started.retries and not self.stop:
            self.show_line(f"{ended.line}; it is tried again, attempt {times + 1} of {started.retries + 1}")
            self.todo.append(job)
            return
        self.ends(job, ended)
        if started.fail_fast:
            self.stop = f"stopped at the first failure (sweep.fail_fast=true): job {job.number}"

    def starts_again(self, job: Job, gone: Gone, log_file: Path) -> None:
        """A worker died before it began its job; another one gets the job."""
        self.false_starts += 1
        if self.false_starts >= _STARTS:
            said = _tail(log_file, 1).strip() or "it said nothing"
            text = (
                f"workers cannot start: {self.false_starts} in a row ended before they began a job; the last one "
                f"{gone.reason}: {said}  [log {log_file}]"
            )
            log.error(text)  # the command takes any error of a sweep for a failed job's, which was shown already
            raise SweepError(text)
        self.todo.appendleft(job)


def _tail(path: Path, lines: int = 60) -> str:
    """The last lines of a file, or nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 20_000))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _objective_of(directory: Path) -> float | None:
    """What a job returned, from its manifest: its worker died after that was written."""
    record = read(directory)
    name = None if record is None else (record.config.get("sweep") or {}).get("objective")
    if record is None or not name:
        return None
    _, metric, value = name.split(".")
    return record.metrics.get(metric, {}).get(value)
