"""One rollout, from a checked config to files, pictures, numbers, a tracker run and a manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import domains, evaluation
from strands_diffusers.config.checks import GIVES
from strands_diffusers.config.compose import to_tree
from strands_diffusers.config.schema import ActionConditionConfig, RunConfig, Tree
from strands_diffusers.errors import EngineError, OutputError, StrandsDiffusersError, one_line
from strands_diffusers.observations import resolve
from strands_diffusers.outputs.style import load_matplotlib
from strands_diffusers.plugin.base import Metric, Serializer, Source, Tracker, Visualizer
from strands_diffusers.plugin.manager import PluginIndex, plugins
from strands_diffusers.records import Record, SampleRecord, file_entry
from strands_diffusers.results import OUTPUT_TYPES, Artifact, Observation, Rollout, RunInfo
from strands_diffusers.runner import manifest, provenance
from strands_diffusers.runner.clock import Clock, Progress
from strands_diffusers.runner.tracking import SafeTracker, run_id, run_name

if TYPE_CHECKING:
    from strands_diffusers.pipelines.request import Request
    from strands_diffusers.runner.chunks import FinishedChunks

log = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]


@dataclass
class Job:
    """A checked request, ready to run: what `check` found out without loading anything."""

    config: RunConfig
    tree: Tree
    request: Request
    hash: str
    identity: dict[str, Any]
    """What the hash is made of."""
    serializers: list[Serializer]
    visualizers: list[Visualizer]
    metrics: list[Metric]
    tracker: Tracker
    seconds: float
    """Wall time of the check [s]."""


@dataclass
class JobResult:
    """What a finished job left behind."""

    directory: Path
    rollouts: list[Rollout]
    manifest: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    """Lines for the person at the terminal."""


def check(
    config: RunConfig,
    observation: Observation | None = None,
    *,
    cwd: Path | None = None,
    index: PluginIndex | None = None,
) -> Job:
    """Find every fault of a request that can be found without loading weights.

    Reads the observation (a relative address from `cwd`), checks it against the condition and the checkpoint's files,
    and computes the job's hash.
    Raises: a `RequestError`.
    """
    from strands_diffusers.pipelines import checkpoint, engine, loader
    from strands_diffusers.pipelines.request import COSMOS3, make_request, observation_request

    started = time.perf_counter()
    evaluation.check_job(config)
    index = index or plugins()
    if observation is not None:
        config = replace(config, observation=observation.source or None)
    elif config.observation is None:
        observation = Observation()
    else:
        known = sources(config, index)
        config = replace(config, observation=resolve.absolute_address(config.observation, cwd or Path.cwd(), known))
        observation = resolve.read_observation(str(config.observation), observation_request(config), known)
    request = make_request(config, observation)
    loader.check(config.model)
    config = replace(config, prompt=request.prompt or None)  # the task of the observation, where the user gave none
    pipeline = config.model.pipeline or COSMOS3
    facts = (pipeline, request.mode, config.model.device, config.model.dtype.value, config.model.offload.value)
    if refusal := engine.refuse_before_load(config.engine.name, *facts):
        raise EngineError(refusal)
    effective = config.engine.name
    if effective == "auto":
        effective = "eager" if engine.refuse_before_load("exact", *facts) else "exact"
    given = request.given_action_KTD
    tree = to_tree(config)
    content = {
        "observation": resolve.content_hash(observation),
        "actions": None if given is None else resolve.array_hash(given),
        "weights": checkpoint.fingerprint(config.model),
    }
    identity = provenance.identity(config, tree, content, effective)
    return Job(
        config,
        tree,
        request,
        provenance.job_hash(identity),
        identity,
        _chosen(config.output, index, "output"),
        _chosen(config.visualizer, index, "visualizer"),
        _chosen(config.metric, index, "metric"),
        tracker_of(config, index),
        time.perf_counter() - started,
    )


def sources(config: RunConfig, index: PluginIndex) -> dict[str, Source]:
    """The observation sources of this config, by scheme."""
    return {scheme: cls(config.source.get(scheme)) for scheme, cls in index.classes("source").items()}


def run_job(
    job: Job,
    directory: Path,
    *,
    overrides: Sequence[str] = (),
    group: str | None = None,
    tags: Sequence[str] = (),
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> JobResult:
    """Run one checked job in `directory` and return its rollouts and manifest.

    What speaks against the request is said first, by `say` or as a logged warning.
    A failure leaves `failure.json` and no manifest, and closes the tracker run as failed.
    """
    for note in job.request.notes:
        (say or log.warning)(f"warning: {note}")
    clock = Clock(progress)
    clock.seconds["check"] = job.seconds
    started = manifest.now()
    tracker = SafeTracker(job.tracker)
    try:
        with clock("tracker"):
            tracker.start(_run_info(job, directory, group, tags, overrides))
        result = _run(job, directory, clock, progress)
        with clock("record"):
            record = _record(job, result, directory, clock, started, overrides)
            manifest.write_json(directory / manifest.MANIFEST, record)
            (directory / manifest.FAILURE).unlink(missing_ok=True)
            result.kept.clear()
    except BaseException as error:
        line = f"{type(error).__name__}: {one_line(error)}"
        tracker.finish(Record(directory, "failed", job.hash, error=line, stage=clock.stage, seconds=clock.seconds))
        manifest.write_failure(
            directory, error, clock.stage, overrides, hash=job.hash, config=job.tree, seconds=clock.seconds
        )
        raise
    typed = _typed(record, directory, result)
    try:
        with clock("tracker"):
            tracker.log(typed, result.rollouts)
    finally:
        tracker.finish(replace(typed, problems=tuple(tracker.problems)))
    return JobResult(directory, result.rollouts, record, [*result.notes, *tracker.notes()])


@dataclass
class _Produced:
    rollouts: list[Rollout]
    artifacts: list[tuple[Rollout, list[Artifact]]]
    """The files of each sample; the first one's list begins with what was drawn over all samples."""
    metrics: list[Metrics]
    model: dict[str, Any]
    notes: list[str]
    kept: FinishedChunks


def _run(job: Job, directory: Path, clock: Clock, progress: Progress | None) -> _Produced:
    from strands_diffusers.pipelines import generate, loader
    from strands_diffusers.runner.chunks import FinishedChunks

    config = job.config
    with clock("load"):
        model, warm = loader.load(config.model)
    wanted = wanted_types(job.request.mode, job.serializers, [*job.visualizers, *job.metrics])
    with clock("generate"):
        kept = FinishedChunks(directory, job.hash)
        rollouts = generate.generate(model, config, job.request, wanted, progress, kept)
    if noted := list(job.request.notes):
        rollouts = [replace(r, details={**r.details, "notes": noted}) for r in rollouts]
    notes = [
        f"engine: {reason}" for reason in {r.details.get("engine", {}).get("reason") for r in rollouts[:1]} - {None}
    ]
    if before := rollouts[0].details.get("chunks_kept"):
        notes.append(f"{before} of {job.request.num_chunks} chunks were finished before")
    with clock("write"), manifest.staging(directory) as private:
        written = [_write(r, private, job) for r in rollouts]
        written[0][0][:0] = _draw_all(rollouts, private, job)
        manifest.publish(private, directory)
        moved = [[replace(a, path=directory / a.path.relative_to(private)) for a in files] for files, _ in written]
    facts = {**loader.describe(model), "warm": warm}
    return _Produced(rollouts, list(zip(rollouts, moved, strict=True)), [m for _, m in written], facts, notes, kept)


def wanted_types(
    mode: str, serializers: Sequence[Serializer], readers: Sequence[Visualizer | Metric]
) -> frozenset[str]:
    """What the engine must compute: what the selected serializers write; without any, what the readers need."""
    chosen: Sequence[Any] = serializers or readers
    types = {t for item in chosen for t in (OUTPUT_TYPES if "rollout" in item.output_types else item.output_types)}
    return frozenset(types & set(GIVES[mode]))


def _chosen(selected: Mapping[str, Any], index: PluginIndex, group: str) -> list[Any]:
    return [index.find(group, name)(config) for name, config in selected.items()]


def _reads(item: Serializer | Visualizer | Metric, rollout: Rollout) -> bool:
    """Whether the rollout holds what the class needs. The actions of forward dynamics are given, and worth drawing."""
    has = rollout.has | (
        {"action"} if rollout.given_action is not None and not isinstance(item, Serializer | Metric) else set()
    )
    return all(t == "rollout" or t in has for t in item.output_types)


def _write(rollout: Rollout, private: Path, job: Job) -> tuple[list[Artifact], Metrics]:
    """Files, pictures and numbers of one sample, side by side in threads: most of the time goes to encoders."""
    folder = private if rollout.sample is None else private / f"sample_{rollout.sample:02d}"
    folder.mkdir(exist_ok=True)
    if job.visualizers:
        load_matplotlib()
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="outputs") as pool:
        files = [pool.submit(s.save, rollout, folder) for s in job.serializers if _reads(s, rollout)]
        files += [pool.submit(v.draw, rollout, folder) for v in job.visualizers if _reads(v, rollout)]
        values = {m.name: pool.submit(m.compute, rollout) for m in job.metrics if _reads(m, rollout)}
        with _writing():
            artifacts = [a for future in files for a in future.result()]
        return artifacts, {name: result for name, future in values.items() if (result := future.result())}


def _draw_all(rollouts: Sequence[Rollout], private: Path, job: Job) -> list[Artifact]:
    """Pictures over all samples of a job, where there are several."""
    if len(rollouts) < 2:
        return []
    readers = [v for v in job.visualizers if all(_reads(v, rollout) for rollout in rollouts)]
    with _writing():
        return [a for v in readers for a in v.draw_all(rollouts, private)]


@contextmanager
def _writing() -> Iterator[None]:
    """Turn the disk's refusal into one clear line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write the rollout: {error.strerror or error}. Free some space or set output_dir=DIR."
        ) from error


def _run_info(job: Job, directory: Path, group: str | None, tags: Sequence[str], overrides: Sequence[str]) -> RunInfo:
    config, mode = job.config, job.request.mode
    parts = [mode, config.model.name]
    if isinstance(config.condition, ActionConditionConfig):
        parts.append(domains.short_name(config.domain.name))
    parts.append(f"seed{config.seed}")
    record = {
        **job.tree,
        "hash": job.hash,
        "sweep_id": group,
        "git": provenance.git_commit(),
        "versions": provenance.versions(),
    }
    name = (group and run_name(directory, overrides)) or "-".join(parts)
    identity = run_id(directory.parent, job.hash) if group else ""
    return RunInfo(name, directory, record, mode, group, (*tags, mode, config.model.name), identity)


def _typed(record: Mapping[str, Any], directory: Path, result: _Produced) -> Record:
    """The manifest as trackers read it."""
    known: dict[str, Any] = {
        k: record[k] for k in ("hash", "config", "seed", "metrics", "seconds", "engine", "versions")
    }
    samples = [
        SampleRecord(r.sample, r.seed, r.mode, r.prompt, r.domain, r.space, r.fps, seconds=r.seconds, metrics=values)
        for r, values in zip(result.rollouts, result.metrics, strict=True)
    ]
    files = [file_entry(a, directory) for _, each in result.artifacts for a in each]
    lists: dict[str, Any] = {key: tuple(record[key]) for key in ("overrides", "notes")}
    return Record(directory, samples=tuple(samples), artifacts=tuple(files), **known, **lists)


def _record(
    job: Job, result: _Produced, directory: Path, clock: Clock, started: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """The manifest; paths in it are relative to the job's folder."""
    first = result.rollouts[0]
    return {
        "schema_version": manifest.SCHEMA_VERSION,
        "status": "done",
        "hash": job.hash,
        "identity": job.identity,
        "started": started,
        "finished": manifest.now(),
        "overrides": list(overrides),
        "command": provenance.command(),
        "config": job.tree,
        "seed": job.config.seed,
        "model": result.model,
        "guardrail": result.model.get("guardrail"),
        "notes": list(job.request.notes),
        "engine": first.details.get("engine", {}),
        "rollout": manifest.rollout_entry(first),
        "samples": [manifest.rollout_entry(r) for r in result.rollouts] if len(result.rollouts) > 1 else [],
        **({"samples_action": spread} if (spread := manifest.action_spread(result.rollouts)) else {}),
        "artifacts": [manifest.artifact_entry(a, directory) for _, files in result.artifacts for a in files],
        "metrics": result.metrics[0] if len(result.metrics) == 1 else _mean(result.metrics),
        "seconds": {**{k: round(v, 4) for k, v in clock.seconds.items()}, "stages": dict(first.seconds)},
        "peak_memory_mb": first.details.get("peak_memory_mb", {}),
        "versions": provenance.versions(),
        "git": provenance.git_commit(),
    }


def _mean(samples: Sequence[Metrics]) -> Metrics:
    """Mean of each value over the samples that have it."""
    names = {(metric, value) for sample in samples for metric, values in sample.items() for value in values}
    table: Metrics = {}
    for metric, value in sorted(names):
        found = [s[metric][value] for s in samples if value in s.get(metric, {})]
        table.setdefault(metric, {})[value] = sum(found) / len(found)
    return table


def tracker_of(config: RunConfig, index: PluginIndex) -> Tracker:
    """The tracker that a config chooses, by the type of its node."""
    for cls in index.classes("tracker").values():
        if type(config.tracker) is cls.Config:
            return cls(config.tracker)  # type: ignore[no-any-return]
    raise StrandsDiffusersError(f"no tracker has the config {type(config.tracker).__name__}.")
