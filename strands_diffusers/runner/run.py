"""Run one checked job: rollouts, then files, pictures and numbers, a tracker run, and the record, written last."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strands_diffusers import loop, records
from strands_diffusers.config.conditions import ActionConditionConfig
from strands_diffusers.errors import CancelledError, StrandsDiffusersError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.metrics.horizon import HorizonMetric
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Record, SampleRecord
from strands_diffusers.results import Rollout, RunInfo
from strands_diffusers.runner import folders, outputs, provenance
from strands_diffusers.runner.chunks import FinishedChunks
from strands_diffusers.runner.control import Clock, Control
from strands_diffusers.runner.job import Job
from strands_diffusers.runner.outputs import Outputs
from strands_diffusers.runner.tracking import SafeTracker, run_id, run_name

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a job ended with."""

    record: Record
    rollouts: list[Rollout] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Lines for the person at the terminal."""


def run_job(
    job: Job,
    directory: Path,
    *,
    overrides: Sequence[str] = (),
    group: str | None = None,
    control: Control | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one checked job in `directory`, which must be its own, an empty one or a new one.

    What speaks against the request is said first, by `say` or as a logged warning. A metric, visualizer, tracker or
    lifecycle hook that fails is a problem in the record; the rollout stands. Any other failure leaves `failure.json`
    beside the files that were written, and closes the tracker run as failed.

    Raises: a `RequestError` where the folder is not free, `CancelledError`, another `StrandsDiffusersError`.
    """
    control = control or Control()
    control.begin(job.config.sweep.timeout_s, say or log.warning)
    folders.check_free(directory, job.hash)
    for note in job.request.notes:
        (say or log.warning)(f"warning: {note}")
    with folders.claimed(directory):
        folders.check_free(directory, job.hash)  # another run may have ended here since
        folders.begin(directory)
        return _Run(job, directory, tuple(overrides), control).run(_run_info(job, directory, group, overrides))


class _Run:
    """One job while it runs."""

    def __init__(self, job: Job, directory: Path, overrides: tuple[str, ...], control: Control) -> None:
        self.job, self.directory, self.control = job, directory, control
        self.clock = Clock(control)
        self.clock.seconds["check"] = job.seconds
        self.problems: list[records.Problem] = []
        self.tracker = SafeTracker(job.tracker)
        self.kept = FinishedChunks(directory, job.hash)
        self.record = Record(
            directory,
            hash=job.hash,
            identity=job.identity,
            overrides=overrides,
            command=tuple(provenance.command()),
            config=job.tree,
            seed=job.config.seed,
            notes=tuple(job.request.notes),
            started=records.now(),
            versions=provenance.versions(),
            plugins=plugins().versions,
            git=provenance.git_commit(),
        )

    def run(self, info: RunInfo) -> Outcome:
        """Run it to its end. Its record is on disk afterwards, whatever happened."""
        clock = self.clock
        try:
            self.problems += plugins().notify("on_job_start", limit_s=self.job.config.hook_timeout_s, job=info)
            with clock("tracker"):
                self.tracker.start(info)
            rollouts, notes = self._generate()
            made = self._write(rollouts)
            with clock("record"):
                self.record = self._finished(rollouts, made)
                records.write(self.record)
                self.kept.clear()
        except BaseException as error:
            self._failed(error)
            raise
        try:
            with clock("tracker"):
                self.tracker.log(self.record, rollouts)
            self.problems += plugins().notify("on_job_end", limit_s=self.job.config.hook_timeout_s, record=self.record)
        finally:
            self._conclude()
        return Outcome(self.record, rollouts, [*notes, *self.tracker.notes()])

    def _generate(self) -> tuple[list[Rollout], list[str]]:
        from strands_diffusers.pipelines import devices, generate, loader

        job, request = self.job, self.job.request
        with loader.noting() as used:
            if job.cast is not None:
                device = devices.resolve_device(job.config.model.device) if job.cast.uses_model else "cpu"
                with self.clock("generate"), generate.peak_memory(device) as peak:
                    rollouts = loop.run(job.cast, self.control, self.kept)
                own = {"engine": used.engine, "peak_memory_mb": peak}
                trust = next((m for m in job.metrics if isinstance(m, HorizonMetric)), HorizonMetric())
                rollouts = [replace(r, details={**own, **r.details, **trust.facts(r)}) for r in rollouts]
            else:
                with self.clock("load"):
                    model, _ = loader.load(job.config.model)
                with self.clock("generate"):
                    rollouts = generate.generate(model, job.config, request, job.wanted, self.control, self.kept)
        if noted := list(request.notes):
            rollouts = [replace(r, details={**r.details, "notes": noted}) for r in rollouts]
        facts, first = used.models[-1] if used.models else {}, rollouts[0].details
        engine = first.get("engine", {})
        warnings = list(dict.fromkeys(line for r in rollouts for line in r.details.get("warnings", ())))
        self.record = replace(
            self.record,
            model=facts,
            guardrail=facts.get("guardrail"),
            engine=engine,
            peak_memory_mb=first.get("peak_memory_mb", {}),
            notes=(*self.record.notes, *warnings),
        )
        notes = [f"engine: {reason}"] if (reason := engine.get("reason")) else []
        notes += dict.fromkeys(r.details["reference"] for r in rollouts if r.details.get("reference"))
        if before := first.get("chunks_kept"):
            notes.append(f"{before} of {request.num_chunks} chunks were finished before")
        if before := sum(r.details.get("looks_kept", 0) for r in rollouts):
            notes.append(f"{before} of {request.num_chunks * len(rollouts)} looks were finished before")
        notes += [f"warning: {line}" for line in warnings]
        return rollouts, notes

    def _write(self, rollouts: Sequence[Rollout]) -> Outputs:
        job = self.job
        with self.clock("write"), records.staging(self.directory) as private:
            made = outputs.produce(
                rollouts,
                private,
                self.directory,
                job.serializers,
                job.visualizers,
                job.metrics,
                job.config.hook_timeout_s,
            )
            self.problems += made.problems
            if made.failure:
                self.record = self._finished(rollouts, made)
                raise made.failure
        return made

    def _finished(self, rollouts: Sequence[Rollout], made: Outputs) -> Record:
        samples = [sample_record(r, m) for r, m in zip(rollouts, made.metrics, strict=True)]
        return replace(
            self.record,
            samples=tuple(samples),
            samples_action=action_spread(rollouts) or {},
            artifacts=tuple(records.file_entry(a, self.directory) for a in made.artifacts),
            metrics=outputs.mean(made.metrics),
            problems=tuple(self.problems),
            finished=records.now(),
            seconds=self._seconds(rollouts),
            history=(provenance.event("generated"),),
        )

    def _seconds(self, rollouts: Sequence[Rollout] = ()) -> dict[str, Any]:
        own = {key: round(value, 4) for key, value in self.clock.seconds.items()}
        return own | ({"stages": dict(rollouts[0].seconds)} if rollouts else {})

    def _conclude(self) -> None:
        """The record once more, where something failed after it was written; then the tracker run is closed."""
        self.problems += self.tracker.problems
        if len(self.problems) > len(self.record.problems):
            self.record = replace(self.record, problems=tuple(self.problems))
            records.write(self.record)
        self.tracker.finish(self.record)

    def _failed(self, error: BaseException) -> None:
        self.record = replace(
            self.record,
            status="failed",
            error=f"{type(error).__name__}: {one_line(error, 2000)}",
            stage=self.clock.stage,
            traceback="" if isinstance(error, CancelledError) else "".join(traceback.format_exception(error)),
            finished=records.now(),
            seconds=self._seconds(),
            problems=tuple(self.problems),
        )
        _leave(self.record)
        self.tracker.finish(self.record)
        self.problems += plugins().notify("on_job_end", limit_s=self.job.config.hook_timeout_s, record=self.record)


def write_failure(
    directory: Path,
    error: BaseException | str,
    stage: str,
    overrides: Sequence[str] = (),
    *,
    log_file: Path | None = None,
    output: str = "",
) -> Record:
    """Leave `failure.json` in a job's folder; one that cannot be written to is left alone. `output`: the process's last lines."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {one_line(error, 2000)}"
    record = Record(
        directory,
        "failed",
        overrides=tuple(overrides),
        error=text,
        stage=stage,
        traceback=output,
        finished=records.now(),
        versions=provenance.versions(),
        log="" if log_file is None else str(log_file),
    )
    _leave(record)
    return record


def _leave(record: Record) -> None:
    """Write the record of a failed job; a folder that cannot be written to is left alone."""
    try:
        record.directory.mkdir(parents=True, exist_ok=True)
        records.write(record)
    except (OSError, StrandsDiffusersError):
        log.debug("no record of the failure could be written to %s", record.directory)


def _run_info(job: Job, directory: Path, group: str | None, overrides: Sequence[str]) -> RunInfo:
    config, mode = job.config, job.request.mode
    parts = [mode, config.model.name]
    if job.cast is not None:
        parts[1:1] = [job.cast.policy.name, "in", job.cast.world.name]
    if isinstance(config.condition, ActionConditionConfig):
        parts.append(config.domain.facts.short)
    parts.append(f"seed{config.seed}")
    facts = {"hash": job.hash, "sweep_id": group, "git": provenance.git_commit(), "versions": provenance.versions()}
    name = (run_name(directory, overrides) if group else None) or "-".join(parts)
    identity = run_id(directory.parent, job.hash) if group else ""
    return RunInfo(name, directory, {**job.tree, **facts}, mode, group, (mode, config.model.name), identity)


def sample_record(rollout: Rollout, metrics: records.Metrics) -> SampleRecord:
    """What the record says of one sample."""
    arrays: dict[str, Any] = {}
    for name in ("video", "sound", "action", "image"):
        if (value := getattr(rollout, name)) is not None:
            arrays[name] = {"dtype": str(value.dtype), "shape": list(value.shape)}
    if (mesh := rollout.mesh) is not None:
        arrays["mesh"] = {"vertices": list(mesh.vertices.shape), "faces": list(mesh.faces.shape)}
    seen, given, true = rollout.observation, rollout.given_action, rollout.reference_action
    same = ("seed", "mode", "prompt", "domain", "space", "fps", "sampling_rate")
    return SampleRecord(
        rollout.sample,
        **{name: getattr(rollout, name) for name in same},
        observation={"source": seen.source, "task": seen.task, "details": dict(seen.details)},
        arrays=arrays,
        given_action=None if given is None else given.tolist(),
        reference_action=None if true is None else true.tolist(),
        seconds=dict(rollout.seconds),
        details=dict(rollout.details),
        metrics=metrics,
    )


def action_spread(rollouts: Sequence[Rollout]) -> dict[str, Any] | None:
    """Mean and standard deviation (N - 1) of the predicted actions over N samples, each `[K][T][D]` in model space.

    None where there is one sample, or no predicted action.
    """
    actions_KTD = [rollout.action for rollout in rollouts if rollout.action is not None]
    if len(actions_KTD) < 2:
        return None
    action_NKTD = np.stack(actions_KTD).astype(np.float64)
    mean_KTD, deviation_KTD = action_NKTD.mean(axis=0), action_NKTD.std(axis=0, ddof=1)
    facts = {"samples": len(actions_KTD), "shape": list(mean_KTD.shape), "unit": "model space"}
    return {**facts, "mean": mean_KTD.tolist(), "std": deviation_KTD.tolist()}
