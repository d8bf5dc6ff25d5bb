"""The record of a job as trackers get it, made from its rollouts, its files and what its metrics measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.records import FileEntry, Metrics, Record, SampleRecord
from strands_diffusers.results import Artifact, Rollout


def record_of(
    directory: Path,
    rollouts: Sequence[Rollout],
    artifacts: Sequence[Artifact] = (),
    metrics: Sequence[Metrics] = (),
    *,
    mean: Metrics | None = None,
    seconds: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """`metrics` is one mapping a sample; `mean` is theirs. Files that are not there are listed all the same."""
    measured = list(metrics) or [{} for _ in rollouts]
    samples = [
        SampleRecord(r.sample, r.seed, r.mode, r.prompt, r.domain, r.space, r.fps, seconds=r.seconds, metrics=values)
        for r, values in zip(rollouts, measured, strict=True)
    ]
    files = [FileEntry(str(each.path.relative_to(directory)), each.type) for each in artifacts]
    first = measured[0] if measured else {}
    return Record(
        directory,
        samples=tuple(samples),
        artifacts=tuple(files),
        metrics=first if mean is None else mean,
        seconds=seconds or {},
        **fields,
    )
