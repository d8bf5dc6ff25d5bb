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
from strands_diffusers.outputs.serializers import (
    ActionSerializer,
    ImageSerializer,
    MeshSerializer,
    SoundSerializer,
    VideoSerializer,
)
from strands_diffusers.pipelines import contents
from strands_diffusers.pipelines.contents import Content
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.results import ActionSpace, Artifact, Mesh, Rollout

INLINE_VALUES = 256
"""Arrays up to this many numbers are given as nested lists; larger ones become .npy files."""

MAX_DEPTH = 8

_SERIALIZERS: dict[str, type[Serializer]] = {
    "video": VideoSerializer,
    "sound": SoundSerializer,
    "action": ActionSerializer,
    "image": ImageSerializer,
    "mesh": MeshSerializer,
}


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
        sound = next((each.value for values in found.values() for each in values if each.type == "sound"), None)
        entries: dict[str, Any] = {}
        for name, value in named.items():
            if not found[name]:
                entries[name] = self.value(value)
                continue
            rows = [row for each in found[name] for row in self.media(each, sound)]
            entries[name] = rows[0] if len(rows) == 1 and found[name][0].type != "image" else rows
        made_by = pipe if type(output) is dict else output  # a modular pipeline returns its named outputs as a dict
        return entries | {"__type__": type(made_by).__name__}

    def media(self, content: Content, sound: Any = None) -> list[dict[str, Any]]:
        """Entries of one canonical value, one per file: all images of a field, otherwise one."""
        rollout = self._rollout(content, sound)
        written: list[Artifact] = []
        if self.save:
            serializer = _SERIALIZERS[content.type]()
            written = files.write(lambda folder: serializer.save(rollout, folder))
            self.artifacts += [str(artifact.path) for artifact in written]
        if content.type == "image":
            images_nHWC = np.asarray(content.value)
            paths = [str(artifact.path) for artifact in written] or [""] * len(images_nHWC)
            size = [int(images_nHWC.shape[2]), int(images_nHWC.shape[1])]
            return [{"type": "image", "size": size, **({"path": path} if path else {})} for path in paths]
        entry = {"type": content.type, **self._facts(content)}
        if written:
            entry["path"] = str(written[0].path)
        return [entry]

    def value(self, value: Any, depth: int = 0) -> Any:
        """Any other value, JSON-ready: numbers and text as they are, arrays inline or as files, objects described."""
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return value if np.isfinite(value) else None
        if isinstance(value, Path) or type(value).__name__ in ("dtype", "device"):
            return str(value)
        if hasattr(value, "convert") and hasattr(value, "getbands"):
            return self.media(Content("image", contents.stills(value)))[0]
        if hasattr(value, "verts") and hasattr(value, "faces"):
            return self.media(Content("mesh", contents.mesh(value)))[0]
        if isinstance(value, np.ndarray | np.generic) or hasattr(value, "detach"):
            return self.array(contents.numbers(value))
        if depth >= MAX_DEPTH:
            return {"type": "object", "class": type(value).__name__}
        if isinstance(value, Mapping):
            return {str(key): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return self._sequence(list(value), depth)
        return self._object(value, depth)

    def array(self, array: np.ndarray) -> Any:
        """A nested list where the array is small, else an entry with a .npy file."""
        if array.dtype == object:
            return {"type": "array", "dtype": "object", "shape": list(array.shape)}
        if array.size <= INLINE_VALUES:
            return self.value(array.tolist(), MAX_DEPTH - 3)
        entry: dict[str, Any] = {"type": "array", "dtype": str(array.dtype), "shape": list(array.shape)}
        if self.save:

            def save(folder: Path) -> list[Artifact]:
                np.save(folder / "array.npy", array)
                return [Artifact(folder / "array.npy", "array")]

            entry["path"] = str(files.write(save)[0].path)
            self.artifacts.append(entry["path"])
        return entry

    # ------------------------------------------------------------------------------------------------------- details

    def _rollout(self, content: Content, sound: Any) -> Rollout:
        value: Any = content.value
        rollout = Rollout(mode="run", fps=self.fps, sampling_rate=self.sampling_rate)
        more = {"sound": sound} if content.type == "video" and sound is not None and self.sampling_rate else {}
        space = ActionSpace(self.domain) if self.domain else None
        if content.type == "sound" and not self.sampling_rate:
            raise OutputError("the pipeline states no sampling rate for its sound, so it cannot be written as a .wav.")
        return dataclasses.replace(rollout, **{content.type: value}, **more, space=space)

    def _facts(self, content: Content) -> dict[str, Any]:
        value = content.value
        if isinstance(value, Mesh):
            return {"num_verts": len(value.vertices), "num_faces": len(value.faces)}
        if content.type == "video":
            return {"num_frames": len(value), "shape": list(value.shape), "fps": self.fps}
        if content.type == "sound":
            return {"samples": len(value), "channels": value.shape[1], "sampling_rate": self.sampling_rate}
        return {
            "data": value.tolist(),
            "chunk_shape": list(value.shape[1:]),
            "num_chunks": len(value),
            "out_of_range_share": round(actions.out_of_range_share(value), 6),
            **({"domain": self.domain} if self.domain else {}),
            **({"fps": self.fps} if self.fps else {}),
        }

    def _sequence(self, values: list[Any], depth: int) -> Any:
        pictures = [hasattr(item, "convert") and hasattr(item, "getbands") for item in values]
        if len(values) > 1 and all(pictures) and len({item.size for item in values}) == 1:
            return self.media(Content("video", contents.clips(values)[0]))[0]
        return [self.value(item, depth + 1) for item in values]

    def _object(self, value: Any, depth: int) -> dict[str, Any]:
        """What a person would want to know of an object: its class and its public data."""
        entry: dict[str, Any] = {"type": "object", "class": type(value).__name__}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return entry | {"fields": {name: _brief(getattr(value, name)) for name in names}}
        config = getattr(value, "config", None)
        if isinstance(config, Mapping):
            public = {key: item for key, item in config.items() if not str(key).startswith("_")}
            return entry | {"config": self.value(public, depth + 1)}
        return entry


def _brief(value: Any) -> Any:
    """One line of a value: numbers and text as they are, the rest by class and shape."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "shape"):
        return {"type": type(value).__name__, "shape": [int(size) for size in value.shape]}
    if isinstance(value, list | tuple):
        return {"type": "list", "length": len(value), **({"of": type(value[0]).__name__} if value else {})}
    if hasattr(value, "size") and hasattr(value, "getbands"):
        return {"type": "image", "size": list(value.size)}
    return {"type": type(value).__name__}
