"""The finished chunks of a long rollout on disk, so that one that is cut off goes on instead of beginning again.

They live in `.chunks-HASH` inside the job's folder: only the very same job (its hash) finds them there, and they are gone once its
manifest is written. Other jobs' chunks in the folder are removed.

Letters: F frames, H height, W width, T steps of a chunk, D action width.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np

if TYPE_CHECKING:
    from strands_diffusers.pipelines.engine import Sample

PREFIX = ".chunks-"


class FinishedChunks:
    """What `pipelines.generate` keeps of a rollout of several chunks; see `generate.Kept`."""

    def __init__(self, directory: Path, digest: str) -> None:
        self.folder = directory / f"{PREFIX}{digest[:16]}"
        for other in directory.glob(f"{PREFIX}*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def read(self, chunk: int, wanted: frozenset[str]) -> tuple[list[Sample], dict[str, Any]] | None:
        """The samples of chunk `chunk` and the facts of the engine that drew them; None where they are not whole."""
        from strands_diffusers.pipelines.engine import Sample

        try:
            with self._path(chunk).open("rb") as stream, np.load(stream) as stored:
                facts = json.loads(str(stored["facts"]))
                if set(facts["wanted"]) != wanted:
                    return None
                samples = [
                    Sample(
                        video=stored.get(f"video_{i}"),  # uint8 [F, H, W, 3]
                        action=stored.get(f"action_{i}"),  # float32 [T, D]
                        seconds=seconds,
                    )
                    for i, seconds in enumerate(facts["seconds"])
                ]
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        return samples, facts["engine"]

    def write(self, chunk: int, wanted: frozenset[str], samples: list[Sample], engine: dict[str, Any]) -> None:
        """Keep the samples of a finished chunk. Raises: `OutputError` where the disk refuses."""
        arrays: dict[str, Any] = {}
        for i, sample in enumerate(samples):
            arrays |= {
                f"{name}_{i}": value
                for name, value in (("video", sample.video), ("action", sample.action))
                if value is not None
            }
        facts = {"wanted": sorted(wanted), "seconds": [sample.seconds for sample in samples], "engine": engine}
        partial = self._path(chunk).with_suffix(".partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez(stream, facts=json.dumps(facts), **arrays)
            partial.replace(self._path(chunk))
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise OutputError(
                f"cannot keep chunk {chunk} of the rollout in {self.folder}: {error.strerror}. Free some space or set output_dir=DIR."
            ) from error

    def clear(self) -> None:
        """Forget them: the rollout is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk_{chunk:03d}.npz"
