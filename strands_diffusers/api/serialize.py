"""Results as callers see them: media as files with an entry each, small values as they are, never a repr.

Array suffixes: F frames, n images, H height, W width, C channels, N samples, K chunks, T steps, D action width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import actions
from strands_diffusers.api import files
from strands_diffusers.errors import OutputError
from strands_diffusers.pipelines import contents
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import ActionSpace, Artifact, Rollout

INLINE_VALUES = 256
"""Arrays up to this many numbers are given as nested lists; larger ones become .npy files."""

MAX_DEPTH = 8


@dataclasses.dataclass
class Writer:
    """Turns values into entries and collects the files that it writes."""

    save: bool = True
    """Whether files are written at all; without, entries hold no `path`."""

    fps: float | None = None
    """Rate of videos [Hz]."""

    sampling_rate: int | None = None
    """Rate of sound [Hz], where the pipeline states one."""

    domain: str | None = None
    """diffusers' name of the embodiment whose actions these are."""

    artifacts: list[str] = dataclasses.field(default_factory=list)
    """Paths of the files written so far."""

    def output(self, pipe: Any, output: Any) -> dict[str, Any]:
        """Entries of a pipeline's output, field by field, with its class name as `__type__`."""
        named = contents.fields(output)
        self.sampling_rate = self.sampling_rate or contents.sampling_rate(pipe, named)
        found = {name: contents.contents(pipe, name, value) for name, value in named.items()}
        sound = next((made[0] for kind, made in found.values() if kind == "sound" and made), None)
        entries: dict[str, Any] = {}
        for name, (kind, made) in found.items():
            rows = [row for each in made for row in self.media(kind, each, sound)]
            entries[name] = rows[0] if len(rows) == 1 and kind != "image" else rows or self.value(named[name])
        made_by = pipe if type(output) is dict else output  # a modular pipeline returns its named outputs as a dict
        return entries | {"__type__": type(made_by).__name__}

    def media(self, kind: str, value: Any, sound: Any = None) -> list[dict[str, Any]]:
        """Entries of one canonical value, one per file: all images of a field, otherwise one."""
        if kind == "sound" and not self.sampling_rate:
            raise OutputError("the pipeline states no sampling rate for its sound, so it cannot be written as a .wav.")
        written: list[Artifact] = []
        if self.save:
            space = ActionSpace(self.domain) if self.domain else None
            given = {kind: value} | ({"sound": sound} if kind == "video" and self.sampling_rate else {})
            rollout = Rollout(mode="run", fps=self.fps, sampling_rate=self.sampling_rate, space=space, **given)
            written = files.write(lambda folder: plugins().find("output", kind)().save(rollout, folder))
            self.artifacts += [str(artifact.path) for artifact in written]
        facts = self._facts(kind, value)
        paths = [{"path": str(artifact.path)} for artifact in written] or [{}] * len(facts)
        return [{"type": kind, **fact, **path} for fact, path in zip(facts, paths, strict=False)]

    def value(self, value: Any, depth: int = 0) -> Any:
        """Any other value, JSON-ready: numbers and text as they are, arrays inline or as files, objects described."""
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return value if np.isfinite(value) else None
        if isinstance(value, Path) or type(value).__name__ in ("dtype", "device"):
            return str(value)
        if contents.is_picture(value):
            return self.media("image", contents.stills(value))[0]
        if contents.is_mesh(value):
            return self.media("mesh", contents.mesh(value))[0]
        if isinstance(value, np.ndarray | np.generic) or hasattr(value, "detach"):
            return self.array(contents.numbers(value))
        if depth >= MAX_DEPTH:
            return {"type": "object", "class": type(value).__name__}
        if isinstance(value, Mapping):
            return {str(key): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            items: list[Any] = list(value)
            if len(items) > 1 and all(map(contents.is_picture, items)) and len({item.size for item in items}) == 1:
                return self.media("video", contents.clips(items)[0])[0]
            return [self.value(item, depth + 1) for item in items]
        return self._object(value, depth)

    def array(self, array: np.ndarray) -> Any:
        """A nested list where the array is small, else an entry with a .npy file."""
        entry: dict[str, Any] = {"type": "array", "dtype": str(array.dtype), "shape": list(array.shape)}
        if array.dtype != object and array.size <= INLINE_VALUES:
            return self.value(array.tolist(), MAX_DEPTH - 3)
        if array.dtype != object and self.save:

            def save(folder: Path) -> list[Artifact]:
                np.save(folder / "array.npy", array)
                return [Artifact(folder / "array.npy", "array")]

            entry["path"] = str(files.write(save)[0].path)
            self.artifacts.append(entry["path"])
        return entry

    def _facts(self, kind: str, value: Any) -> list[dict[str, Any]]:
        """What is said of a value beside its kind, once per file."""
        if kind == "image":
            return [{"size": [int(value.shape[2]), int(value.shape[1])]}] * len(value)
        if kind == "mesh":
            return [{"num_verts": len(value.vertices), "num_faces": len(value.faces)}]
        if kind == "video":
            return [{"num_frames": len(value), "shape": list(value.shape), "fps": self.fps}]
        if kind == "sound":
            return [{"samples": len(value), "channels": value.shape[1], "sampling_rate": self.sampling_rate}]
        found = {
            "data": value.tolist(),
            "chunk_shape": list(value.shape[1:]),
            "num_chunks": len(value),
            "out_of_range_share": round(actions.out_of_range_share(value), 6),
        }
        return [found | {name: known for name in ("domain", "fps") if (known := getattr(self, name))}]

    def _object(self, value: Any, depth: int) -> dict[str, Any]:
        """What a person would want to know of an object: its class and its public data; its pictures are not written."""
        entry: dict[str, Any] = {"type": "object", "class": type(value).__name__}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            plain, names = Writer(save=False, fps=self.fps), [field.name for field in dataclasses.fields(value)]
            return entry | {"fields": {name: plain.value(getattr(value, name), depth + 1) for name in names}}
        config = getattr(value, "config", None)
        if isinstance(config, Mapping):
            public = {key: item for key, item in config.items() if not str(key).startswith("_")}
            return entry | {"config": self.value(public, depth + 1)}
        return entry
