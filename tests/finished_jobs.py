"""Folders of finished and failed jobs, written by the real serializers and record writer around rollouts made by hand."""

from collections.abc import Sequence
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.outputs.observed import write_observed
from strands_diffusers.outputs.serializers import (
    ActionSerializer,
    ImageSerializer,
    MeshSerializer,
    SoundSerializer,
    VideoSerializer,
)
from strands_diffusers.results import OUTPUT_TYPES, Rollout

SERIALIZERS = (VideoSerializer, ActionSerializer, SoundSerializer, ImageSerializer, MeshSerializer)


def sample_record(rollout: Rollout, metrics=None) -> records.SampleRecord:
    arrays = {name: getattr(rollout, name) for name in OUTPUT_TYPES if name in rollout.has and name != "mesh"}
    seen = rollout.observation
    return records.SampleRecord(
        rollout.sample, rollout.seed, rollout.mode, rollout.prompt, rollout.domain, rollout.space, rollout.fps,
        rollout.sampling_rate, {"source": seen.source, "task": seen.task, "details": seen.details},
        {name: {"dtype": str(value.dtype), "shape": list(value.shape)} for name, value in arrays.items()},
        None if rollout.given_action is None else rollout.given_action.tolist(),
        None if rollout.reference_action is None else rollout.reference_action.tolist(),
        rollout.seconds, rollout.details, metrics or {},
    )  # fmt: skip


def finish(directory: Path, rollouts: Sequence[Rollout], *, metrics=(), drawers=(), **fields) -> records.Record:
    """Write the files of a job and its record: `metrics` of each sample, `drawers` visualizers, `fields` of the record."""
    directory.mkdir(parents=True, exist_ok=True)
    artifacts = write_observed(rollouts[0], directory)
    for rollout in rollouts:
        folder = directory if rollout.sample is None else directory / f"sample_{rollout.sample:02d}"
        folder.mkdir(exist_ok=True)
        for serializer in SERIALIZERS:
            if serializer.name in rollout.has:
                artifacts += serializer().save(rollout, folder)
        for drawer in drawers:
            artifacts += drawer().draw(rollout, folder)
    per_sample = list(metrics) or [{}] * len(rollouts)
    fields = {
        "hash": "0123456789abcdef", "seed": rollouts[0].seed, "started": records.now(), "finished": records.now(),
        "seconds": {"generate": 1.0}, "metrics": per_sample[0], **fields,
    }  # fmt: skip
    record = records.Record(
        directory,
        samples=tuple(sample_record(r, m) for r, m in zip(rollouts, per_sample, strict=True)),
        artifacts=tuple(records.file_entry(a, directory) for a in artifacts),
        **fields,
    )
    records.write(record)
    found = records.read(directory)
    assert found is not None
    assert found.done, found.error
    return found
