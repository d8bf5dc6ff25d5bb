"""Files of `use_diffusers`: written by the same serializers and visualizers as a job's, named `<type>_<stamp>.<ext>`."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.api.access import ARTIFACTS_VARIABLE, artifacts_folder
from strands_diffusers.results import Artifact

_count = itertools.count()  # the next number is drawn atomically


def stamp() -> str:
    """Unique on this machine: milliseconds, process, and a count within the process."""
    return f"{int(time.time() * 1000)}-{os.getpid()}-{next(_count)}"


def write(writer: Callable[[Path], list[Artifact]], prefix: str | None = None) -> list[Artifact]:
    """Let `writer` write into a private folder beside the artifacts, and move what is whole to its stamped names.

    `video.mp4` becomes `video_<stamp>.mp4`; with a `prefix`, `<prefix>_video_<stamp>.mp4`.
    """
    folder = artifacts_folder(create=True)
    with (
        records.writing(folder, f"Set {ARTIFACTS_VARIABLE} to a folder."),
        tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as private,
    ):
        return [_publish(artifact, prefix) for artifact in writer(Path(private))]


def _publish(artifact: Artifact, prefix: str | None) -> Artifact:
    stem = re.sub(r"_\d+$", "", artifact.path.stem)
    name = f"{prefix}_{stem}" if prefix else stem
    path = artifacts_folder() / f"{name}_{stamp()}{artifact.path.suffix}"
    artifact.path.rename(path)
    return Artifact(path, artifact.type, artifact.details)
