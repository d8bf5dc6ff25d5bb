"""Files, pictures and numbers of a job's rollouts: each call on its own, so that one that fails costs its own result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from strands_diffusers.errors import OutputError, StrandsDiffusersError, one_line
from strands_diffusers.outputs.canvas import load_matplotlib
from strands_diffusers.outputs.observed import write_observed, write_reference
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Metric, Serializer, Visualizer
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Metrics, Problem, publish
from strands_diffusers.results import Artifact, Rollout


@dataclass
class Outputs:
    """What was made of a job's rollouts."""

    artifacts: list[Artifact] = field(default_factory=list)
    """In the job's folder; what was drawn over all samples, then each sample's."""

    metrics: list[dict[str, dict[str, float]]] = field(default_factory=list)
    """Of each sample."""

    problems: list[Problem] = field(default_factory=list)
    failure: Exception | None = None
    """Why a serializer did not write; the other files are there."""

    def results(self, calls: Sequence[tuple[str, Future[Any]]]) -> Iterator[tuple[str, Any]]:
        """What each call returned; one that failed is a problem."""
        for what, future in calls:
            try:
                yield what, future.result()
            except Exception as error:  # noqa: BLE001 - one call's failure is its own
                self.problems.append(Problem(what, guard.text(error)))


def produce(
    rollouts: Sequence[Rollout],
    private: Path,
    directory: Path,
    serializers: Sequence[Serializer] = (),
    visualizers: Sequence[Visualizer] = (),
    metrics: Sequence[Metric] = (),
    limit_s: float | None = guard.LIMIT_S,
    *,
    observed: bool = True,
) -> Outputs:
    """Write, draw and measure side by side in threads: most of the time goes to encoders.

    Everything is made in `private`, a folder inside `directory`. The serializers' files are published first, so that a
    picture or a number never costs a rollout; `limit_s` is what one call may take. `observed`: whether what the rollouts
    are compared with is written too.
    """
    found = Outputs()
    files, pictures = private / "files", private / "pictures"
    if visualizers:
        load_matplotlib()
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="outputs") as pool:

        def submit(kind: str, item: Any, check: Any, function: Any, of: Any, *more: Any) -> tuple[str, Future[Any]]:
            """`function` of an item, called and checked in a thread; `more` is a folder, or the measures of a metric."""
            folder = more if isinstance(item, Serializer | Visualizer) else ()
            call, what = partial(function, of, *folder), f"{kind} {item.name}"
            owner = plugins().owner(type(item))
            return what, pool.submit(partial(check, owner, what, call, *more, limit_s=limit_s))

        written = [
            submit("output", s, guard.artifacts, s.save, r, _place(files, r))
            for r in rollouts
            for s in serializers
            if s.reads(r)
        ]
        if observed:
            own = rollouts[1:] and rollouts[0].episode is not None  # in the reference world each sample acted otherwise
            first = replace(rollouts[0], reference_video=None) if own else rollouts[0]
            written.append(("observation", pool.submit(partial(write_observed, first, _place(files)))))
            if own:
                each = [pool.submit(partial(write_reference, r, _place(files, r))) for r in rollouts]
                written += [("reference", future) for future in each]
        drawn = [
            submit("visualizer", v, guard.artifacts, v.draw, r, _place(pictures, r))
            for r in rollouts
            for v in visualizers
            if v.reads(r)
        ]
        together = [
            submit("visualizer", v, guard.artifacts, v.draw_all, rollouts, _place(pictures))
            for v in visualizers
            if len(rollouts) > 1 and all(v.reads(r) for r in rollouts)
        ]
        measured = [
            [submit("metric", m, guard.metrics, m.compute, r, m.measures) for m in metrics if m.reads(r)]
            for r in rollouts
        ]
        for what, future in written:
            try:
                found.artifacts += future.result()
            except Exception as error:  # noqa: BLE001 - the others' files are kept
                found.failure = found.failure or _refused(what, error, files, directory)
        if found.failure:
            _keep_only(files, found.artifacts)
        _publish(files, directory, found)
        found.artifacts[:0] = [a for _, artifacts in found.results(together) for a in artifacts]
        found.artifacts += [a for _, artifacts in found.results(drawn) for a in artifacts]
        _publish(pictures, directory, found)
        for futures in measured:
            values = {what.removeprefix("metric "): value for what, value in found.results(futures)}
            found.metrics.append({name: value for name, value in values.items() if value})
    return found


def mean(samples: Sequence[Metrics]) -> Metrics:
    """Mean of each value over the samples that have it; of one sample its own."""
    if len(samples) == 1:
        return samples[0]
    names = {(metric, value) for sample in samples for metric, values in sample.items() for value in values}
    table: dict[str, dict[str, float]] = {}
    for metric, value in sorted(names):
        found = [s[metric][value] for s in samples if value in s.get(metric, {})]
        table.setdefault(metric, {})[value] = sum(found) / len(found)
    return table


def _place(folder: Path, rollout: Rollout | None = None) -> Path:
    place = folder if rollout is None or rollout.sample is None else folder / f"sample_{rollout.sample:02d}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _keep_only(folder: Path, artifacts: Sequence[Artifact]) -> None:
    """Take away what a serializer that failed left half-written."""
    listed = {artifact.path for artifact in artifacts}
    for path in folder.rglob("*"):
        if path.is_file() and path not in listed:
            path.unlink()


def _refused(what: str, error: Exception, made: Path, directory: Path) -> Exception:
    """Why a file was not written, as an error of the job; a file in `made` is named by the place where it would have been."""
    cause = error.__cause__ if isinstance(error, guard.PluginFault) else error
    refused: Exception
    if isinstance(cause, OSError):
        refused = OutputError(
            f"cannot write the rollout: {cause.strerror or cause}. Free some space or set output_dir=DIR."
        )
    elif isinstance(error, StrandsDiffusersError):
        refused = OutputError(str(error)) if isinstance(error, guard.PluginFault) else error
    else:
        refused = OutputError(f"{what}: {type(error).__name__}: {one_line(error)}")
    if str(made) in str(refused):
        refused = type(refused)(str(refused).replace(str(made), str(directory)))
    refused.__cause__ = error
    return refused


def _publish(made: Path, directory: Path, found: Outputs) -> None:
    """Move what is in `made` into the job's folder, and say so in the artifacts."""
    if made.is_dir():
        publish(made, directory)
    found.artifacts = [
        replace(a, path=directory / a.path.relative_to(made)) if a.path.is_relative_to(made) else a
        for a in found.artifacts
    ]
