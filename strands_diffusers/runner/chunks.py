"""The finished chunks of a long rollout, and looks of an episode, on disk: one that is cut off goes on from there.

They live in `.chunks-HASH` inside the job's folder: only the very same job (its hash) finds them there, and they are gone once its
manifest is written. Other jobs' chunks in the folder are removed.

Letters: F frames, H height, W width, T steps of a chunk, D action width.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np

if TYPE_CHECKING:
    from strands_diffusers.pipelines.engine import Sample

PREFIX = ".chunks-"


class FinishedChunks:
    """What `pipelines.generate` keeps of a rollout of several chunks, and `loop` of an episode; see `Kept` in both."""

    def __init__(self, directory: Path, digest: str) -> None:
        self.folder = directory / f"{PREFIX}{digest[:16]}"
        for other in directory.glob(f"{PREFIX}*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def read(self, chunk: int, wanted: frozenset[str]) -> tuple[list[Sample], dict[str, Any]] | None:
        """The samples of chunk `chunk` and the facts of the engine that drew them; None where they are not whole."""
        from strands_diffusers.pipelines.engine import Sample

        arrays, facts = self.load(f"chunk_{chunk:03d}") or ({}, {"wanted": ()})
        if set(facts["wanted"]) != wanted:
            return None
        samples = [
            Sample(
                video=arrays.get(f"video_{i}"),  # uint8 [F, H, W, 3]
                action=arrays.get(f"action_{i}"),  # float32 [T, D]
                seconds=seconds,
            )
            for i, seconds in enumerate(facts["seconds"])
        ]
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
        self.keep(f"chunk_{chunk:03d}", arrays, facts)

    def load(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The arrays and facts that were kept under a name; None where they are not whole."""
        try:
            with (self.folder / f"{name}.npz").open("rb") as stream, np.load(stream) as stored:
                arrays = dict(stored)
            return arrays, json.loads(str(arrays.pop("facts")))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def keep(self, name: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Keep arrays and facts under a name. Raises: `OutputError` where the disk refuses."""
        partial = self.folder / f"{name}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez(stream, facts=json.dumps(facts), **arrays)  # type: ignore[arg-type]
            partial.replace(self.folder / f"{name}.npz")
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise OutputError(
                f"cannot keep {re.sub('_0*(?=[0-9])', ' ', name)} of the rollout in {self.folder}: {error.strerror}. "
                "Free some space or set output_dir=DIR."
            ) from error

    def clear(self) -> None:
        """Forget them: the rollout is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)
