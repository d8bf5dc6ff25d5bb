"""The record of a job as trackers get it, made from its rollouts, its files and what its metrics measured; such files."""

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import soundfile
from PIL import Image

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


def write_artifacts(directory: Path, shade: int = 90) -> list[Artifact]:
    """The files of one sample, small but real: a video, a sound, a plot, an animation, and the action file."""
    video(directory / "video.mp4", shade)
    video(directory / "animation.mp4", 200)
    soundfile.write(directory / "sound.wav", np.zeros((800, 1), np.float32), 8000, subtype="FLOAT")
    Image.new("RGB", (40, 30), "teal").save(directory / "timeseries.png")
    (directory / "action.json").write_text("[]")
    types = {"video.mp4": "video", "sound.wav": "sound", "timeseries.png": "timeseries", "animation.mp4": "animation"}
    types["action.json"] = "action"
    return [Artifact(directory / name, kind) for name, kind in types.items()]


def video(path: Path, shade: int) -> Path:
    """Five grey frames of 64 x 48."""
    path.write_bytes(_encoded(shade))
    return path


@functools.cache
def _encoded(shade: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        writer = imageio_ffmpeg.write_frames(str(path), (64, 48), fps=5, macro_block_size=1)
        writer.send(None)
        for step in range(5):
            writer.send(np.full((48, 64, 3), shade + step, np.uint8))
        writer.close()
        return path.read_bytes()
