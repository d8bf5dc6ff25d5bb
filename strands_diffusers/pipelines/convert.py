"""From what any diffusers pipeline returns to canonical arrays, by what the pipeline says of itself.

diffusers names its output fields: `frames` (video), `images`, `audios`, `video`, `sound`, `action`, and Shap-E's meshes.
Layouts follow from the field's own contract, never from guessing which axis is short.
"""

from typing import Any

import numpy as np

from strands_diffusers.errors import RolloutError
from strands_diffusers.pipelines.engine import Sample
from strands_diffusers.results import Mesh


def arrays(pipe: Any, sample: Sample, num_frames: int | None = None) -> dict[str, Any]:
    """The sample's canonical arrays by output type; `num_frames=1` turns a video of one frame into an image."""
    found = {name: value for name in ("video", "sound", "action") if (value := getattr(sample, name)) is not None}
    if sample.raw is not None:
        found = from_output(pipe, sample.raw)
    if num_frames == 1 and found.get("video") is not None and len(found["video"]) == 1:
        found["image"] = found.pop("video")
    return found


def from_output(pipe: Any, output: Any) -> dict[str, Any]:
    """Canonical arrays of a pipeline's output object (the first sample of a batch).

    Raises: `RolloutError` naming the fields where none is known.
    """
    fields = (
        dict(output.items())
        if hasattr(output, "items")
        else {k: v for k, v in vars(output).items() if not k.startswith("_")}
    )
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name in ("frames", "video"):
            found["video"] = frames(value, batched=name == "frames")
        elif name == "images":
            found.update(images(value))
        elif name in ("audios", "sound", "audio"):
            found["sound"] = sound(value, batched=name != "sound")
            found["sampling_rate"] = sampling_rate(pipe)
        elif name == "action":
            found["action"] = np.stack([np.asarray(_numpy(chunk), np.float32) for chunk in value])
    if not found:
        raise RolloutError(
            f"{type(pipe).__name__} returned {', '.join(fields) or 'nothing'}: no video, image, sound or action."
        )
    return found


def _numpy(value: Any) -> np.ndarray:
    """A tensor as float32 numpy (bfloat16 upcast), anything else as an array."""
    if hasattr(value, "detach"):
        value = value.detach()
        value = value.float() if value.is_floating_point() else value
        return np.asarray(value.cpu().numpy())
    return np.asarray(value)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] to uint8, rounded as diffusers rounds for PIL; uint8 passes."""
    if values.dtype == np.uint8:
        return values
    return (values * 255).round().clip(0, 255).astype(np.uint8)


def _stack(frames_list: Any) -> np.ndarray:
    return np.stack(
        [np.asarray(f.convert("RGB")) if hasattr(f, "convert") else to_uint8(_numpy(f)) for f in frames_list]
    )


def frames(value: Any, *, batched: bool) -> np.ndarray:
    """uint8 [F, H, W, 3] from diffusers' frames: PIL lists, numpy [B, F, H, W, C] or torch [B, F, C, H, W]."""
    if isinstance(value, list):
        first = (
            value[0]
            if (batched and isinstance(value[0], list | np.ndarray)) or (hasattr(value[0], "ndim") and value[0].ndim == 4)
            else value
        )
        return frames(first, batched=False) if not isinstance(first, list) else _stack(first)
    array, is_torch = _numpy(value), hasattr(value, "detach")
    if array.ndim == 5:
        array = array[0]
    if array.ndim != 4:
        raise RolloutError(f"frames of shape {tuple(array.shape)} are not [F, H, W, 3].")
    return to_uint8(np.moveaxis(array, 1, -1) if is_torch else array)


def images(value: Any) -> dict[str, Any]:
    """`image` uint8 [n, H, W, 3] from an `images` field; a mesh or a turntable video where the pipeline is 3-D."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    if hasattr(first, "verts") and hasattr(first, "faces"):
        return {"mesh": Mesh(_numpy(first.verts).astype(np.float32), _numpy(first.faces).astype(np.int32))}
    if isinstance(first, list):
        return {"video": _stack(first)}
    if isinstance(value, list):
        return {"image": _stack(value)}
    array, is_torch = _numpy(value), hasattr(value, "detach")
    return {"image": to_uint8(np.moveaxis(array, 1, -1) if is_torch else array)}


def sound(value: Any, *, batched: bool) -> np.ndarray:
    """float32 [N, C] from diffusers' [B, C, N] or [B, N] audio, or Cosmos 3's [C, N]."""
    array = _numpy(value[0] if batched else value).astype(np.float32)
    return array[:, None] if array.ndim == 1 else np.ascontiguousarray(array.T)


def sampling_rate(pipe: Any) -> int | None:
    """Rate [Hz] that the pipeline's own components state."""
    for component in ("sound_tokenizer", "vae", "vocoder"):
        config = getattr(getattr(pipe, component, None), "config", None)
        rate = getattr(config, "sampling_rate", None) or getattr(config, "sample_rate", None)
        if rate:
            return int(rate)
    return None


def default_fps(pipe: Any) -> float:
    """Rate [Hz] of a video whose pipeline has no notion of one: diffusers' own default of `export_to_video`."""
    return 10.0
