"""What the rollout is compared with, kept beside it: `observation.png` and `reference.mp4`.

Written by the runner in every job that observed something, so that the page can show what was seen, and so that a
finished job can be measured and drawn again without its model, its dataset or its source.
"""

from __future__ import annotations

from pathlib import Path

from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_frames, check_rate, png, write_files
from strands_diffusers.outputs.video_file import write_mp4
from strands_diffusers.results import Artifact, Rollout

MAX_SIDE = 1024
"""Longest side of `observation.png` [px]; a larger frame is scaled down, any other kept exactly."""

CRF = 8
"""Quality of `reference.mp4`: finer than `video.mp4`, so that measuring from files changes scores little."""


def write_observed(rollout: Rollout, directory: Path) -> list[Artifact]:
    """Write what was observed into the existing folder `directory`, once for all samples of a job.

    Shapes: `observation.png` is the observation's first frame, `[H, W, 3]`; `reference.mp4` is `reference_video`,
        uint8 `[F', H, W, 3]`. Either is left out where the rollout has none.
    Raises: `OutputError` for wrong arrays, or a file that cannot be written.
    """
    artifacts = []
    if rollout.observation.frames is not None and len(rollout.observation.frames):
        artifacts.append(_write_first_frame(rollout.observation.frames[:1], directory / "observation.png"))
    return [*artifacts, *write_reference(rollout, directory)]


def write_reference(rollout: Rollout, directory: Path) -> list[Artifact]:
    """Write `reference.mp4`, where there is a reference. Raises: as `write_observed`."""
    if rollout.reference_video is None:
        return []
    path = directory / "reference.mp4"
    facts = write_mp4(path, rollout.reference_video, check_rate("fps of the reference", rollout.fps), crf=CRF)
    return [Artifact(path, "reference", facts)]


def _write_first_frame(frames_1HWC: np.ndarray, path: Path) -> Artifact:
    from PIL import Image

    image = Image.fromarray(check_frames("the observation's first frame", frames_1HWC)[0])
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    write_files({path: png(np.asarray(image))})
    return Artifact(path, "observation", {"shape": [image.height, image.width, 3], "dtype": "uint8"})
