"""What the fields of any pipeline's output hold: every sample of it, as canonical arrays.

The field's name says the kind (`frames`, `images`, `audios`, `action`), the catalog says whether a list of pictures is a
set of stills, a clip or a turntable, the type says where the channels are (numpy and PIL last, torch before height and
width). Nothing is guessed from which axis is short or which value is large.

Array suffixes: F frames, n images, H height, W width, C channels, N samples of sound, K chunks, T steps, D action width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from strands_diffusers.errors import RolloutError
from strands_diffusers.pipelines import catalog
from strands_diffusers.results import Mesh

KINDS = {
    "frames": "video", "video": "video", "videos": "video",
    "images": "image", "image": "image",
    "audios": "sound", "audio": "sound", "sound": "sound",
    "action": "action", "actions": "action",
    "meshes": "mesh", "mesh": "mesh",
}  # fmt: skip
"""Names of output fields -> the canonical type that they hold."""

_RATES = ("sampling_rate", "sample_rate", "audio_sampling_rate", "audio_sample_rate", "output_sampling_rate")
_SOUND_PARTS = ("vocoder", "sound_tokenizer", "audio_vae", "vae", "unet")
_TOLERANCE = 1e-3
"""How far a float pixel may lie outside of [0, 1]: bfloat16 rounds that much."""


def fields(output: Any) -> dict[str, Any]:
    """The named fields of a pipeline's output, in their order: an output object, or the named outputs of a modular pipeline."""
    if hasattr(output, "__dataclass_fields__"):  # before Mapping: as a mapping, an output leaves out what is None
        return {name: getattr(output, name) for name in output.__dataclass_fields__}
    if isinstance(output, Mapping):
        return dict(output)
    raise RolloutError(
        f"the pipeline returned a {type(output).__name__} without named fields; leave return_dict at True."
    )


def contents(pipe: Any, name: str, value: Any) -> tuple[str, list[Any]]:
    """The canonical type of what one field holds, and its values, one per sample (`image`: all images are one value).

    No type and no values for None and for fields that hold no media.
    Raises: `RolloutError` for a layout that the field's contract does not know, pixels outside of [0, 1], NaN or inf.
    """
    kind = KINDS.get(name)
    if kind is None or value is None:
        return "", []
    first = value[0] if isinstance(value, list | tuple) and value else value
    if kind == "image" and is_mesh(first):
        kind = "mesh"
    elif kind == "image" and _are_clips(pipe, value):
        kind = "video"
    readers: dict[str, Callable[[], list[Any]]] = {
        "video": lambda: clips(value, name),
        "image": lambda: [stills(value, name)],
        "sound": lambda: sounds(value, name),
        "action": lambda: [actions(value, name)],
        "mesh": lambda: [mesh(item) for item in (value if isinstance(value, list | tuple) else [value])],
    }
    return kind, readers[kind]()


def clips(value: Any, name: str = "frames") -> list[np.ndarray]:
    """Each clip as uint8 `[F, H, W, 3]`.

    From: PIL lists, one or a list of them; numpy `[F, H, W, C]` or `[B, F, H, W, C]`; torch `[F, C, H, W]` or
    `[B, F, C, H, W]`; a list of such arrays, or of single frames.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise RolloutError(f"{name} is empty: the pipeline returned no frame.")
        if is_picture(value[0]) or getattr(value[0], "ndim", 0) == 3:
            return [np.stack([_frame(item, name) for item in value])]
        return [clip for item in value for clip in clips(item, name)]
    if (axes := getattr(value, "ndim", 0)) in (4, 5):
        return [_pixels(item, name) for item in (value if axes == 5 else [value])]
    raise RolloutError(f"{name} has shape {_shape(value)}; a clip is [F, H, W, C], or [B, F, H, W, C] for several.")


def stills(value: Any, name: str = "images") -> np.ndarray:
    """All images of a field as uint8 `[n, H, W, 3]`: PIL lists, numpy `[n, H, W, C]`, torch `[n, C, H, W]`."""
    if is_picture(value):
        value = [value]
    if isinstance(value, list | tuple):
        if not value:
            raise RolloutError(f"{name} is empty: the pipeline returned no image.")
        parts = [stills(item, name) if not is_picture(item) else _frame(item, name)[None] for item in value]
        if len({part.shape[1:] for part in parts}) > 1:
            raise RolloutError(f"{name} holds images of several sizes: {sorted({part.shape[1:3] for part in parts})}.")
        return np.concatenate(parts)
    if (axes := getattr(value, "ndim", 0)) in (3, 4):
        return _pixels(value if axes == 4 else value[None], name)
    raise RolloutError(f"{name} has shape {_shape(value)}; images are [n, H, W, C].")


def sounds(value: Any, name: str = "audios") -> list[np.ndarray]:
    """Each sound as float32 `[N, C]`.

    From: `audios` and `audio`, `[B, C, N]` or mono `[B, N]`, or a list of `[C, N]`; Cosmos 3's `sound`, `[C, N]`.
    """
    alone = 2 if name == "sound" else 1  # axes of one sound by itself
    several = isinstance(value, list | tuple) or getattr(value, "ndim", 3) > alone
    return [_sound(item, name) for item in (value if several else [value])]


def actions(value: Any, name: str = "action") -> np.ndarray:
    """Chunks as float32 `[K, T, D]` from a list of `[T, D]`, exactly the values that the pipeline gave."""
    chunks = (
        [numbers(item) for item in value] if isinstance(value, list | tuple) else list(np.atleast_3d(numbers(value)))
    )
    if not chunks or any(chunk.ndim != 2 or chunk.shape != chunks[0].shape for chunk in chunks):
        raise RolloutError(
            f"{name} holds chunks of shapes {[chunk.shape for chunk in chunks]}; each must be the same [T, D]."
        )
    return np.stack(chunks).astype(np.float32)


def mesh(value: Any) -> Mesh:
    """A `Mesh` from an object with `verts` `[V, 3]` and `faces` `[F, 3]` (Shap-E's `MeshDecoderOutput`)."""
    return Mesh(numbers(value.verts).astype(np.float32), numbers(value.faces).astype(np.int32))


def sampling_rate(pipe: Any, output: Mapping[str, Any] | None = None) -> int | None:
    """Rate [Hz] of the sound that a pipeline makes: as its output, itself, or the part that makes sound states it."""
    for holder in (output or {}, pipe, *(getattr(getattr(pipe, part, None), "config", None) for part in _SOUND_PARTS)):
        for name in reversed(_RATES) if holder is not pipe else _RATES:
            rate = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
            if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
                return int(rate)
    return None


def arrays(pipe: Any, output: Any) -> dict[str, Any]:
    """Canonical arrays of any pipeline's output: the first sample of a batch, but all images; and the rate of its sound.

    Raises: `RolloutError` naming the fields where none holds media.
    """
    named = fields(output)
    found: dict[str, Any] = {}
    for name, value in named.items():
        kind, values = contents(pipe, name, value)
        if values:
            found.setdefault(kind, values[0])
    if not found:
        raise RolloutError(
            f"{type(pipe).__name__} returned {', '.join(named) or 'nothing'}: no video, image, sound, action or mesh."
        )
    return found | ({"sampling_rate": sampling_rate(pipe, named)} if "sound" in found else {})


def fps(pipe: Any, arguments: Mapping[str, Any], asked: float | None = None) -> float | None:
    """Rate [Hz] of the video of one call: its own argument, else `asked`, else what the pipeline's sources state."""
    given = (value for name in ("fps", "frame_rate") if isinstance(value := arguments.get(name), int | float))
    rate = next(given, asked)
    return catalog.stated_fps(type(pipe).__name__) if rate is None else float(rate)


def numbers(value: Any) -> np.ndarray:
    """A tensor as numpy on the host, bfloat16 and float16 upcast to float32; anything else as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


# -------------------------------------------------------------------------------------------------------------- pixels


def _pixels(value: Any, name: str) -> np.ndarray:
    """uint8 `[n, H, W, 3]` from numpy `[n, H, W, C]` or torch `[n, C, H, W]`; grey becomes three equal channels."""
    array = numbers(value)
    if hasattr(value, "detach"):
        array = np.moveaxis(array, 1, -1)
    channels = array.shape[-1]
    if channels not in (1, 3):
        raise RolloutError(f"{name} has shape {_shape(value)}, with {channels} channels where RGB has 3.")
    array = to_uint8(array, name)
    return np.repeat(array, 3, axis=-1) if channels == 1 else np.ascontiguousarray(array)


def _frame(value: Any, name: str) -> np.ndarray:
    if is_picture(value):
        return np.asarray(value.convert("RGB"), np.uint8)
    return _pixels(value[None], name)[0]  # type: ignore[no-any-return]


def to_uint8(array: np.ndarray, name: str = "frames") -> np.ndarray:
    """Pixels in [0, 1] as uint8, rounded as diffusers rounds for PIL; uint8 passes.

    Raises: `RolloutError` for NaN, and for values that are not pixels in [0, 1]: nothing is rescaled.
    """
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise RolloutError(
            f"{name} holds values from {low:g} to {high:g}; pixels are 0 to 1. The weights or dtype may be broken."
        )
    return (array * 255).round().clip(0, 255).astype(np.uint8)


def _sound(value: Any, name: str) -> np.ndarray:
    array = numbers(value).astype(np.float32)
    if array.ndim not in (1, 2):
        raise RolloutError(f"{name} holds a sound of shape {array.shape}; it must be [C, N] or [N].")
    return array[:, None] if array.ndim == 1 else np.ascontiguousarray(array.T)


def is_picture(value: Any) -> bool:
    """Whether this is a PIL image."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def is_mesh(value: Any) -> bool:
    """Whether this is a mesh as diffusers has it."""
    return hasattr(value, "verts") and hasattr(value, "faces")


def _are_clips(pipe: Any, value: Any) -> bool:
    """Whether an `images` field holds clips: the pipeline makes videos, or renders turntables of its meshes."""
    names = [cls.__name__ for cls in type(pipe).__mro__ if cls.__name__ in catalog.pipelines()]
    made = catalog.find(names[0]).outputs if names else ()
    if "mesh" in made:
        first = value[0] if isinstance(value, list) and value else value
        return isinstance(first, list) or getattr(value, "ndim", 0) == 5 or getattr(first, "ndim", 0) == 4
    return "video" in made and "image" not in made


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
