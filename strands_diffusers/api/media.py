"""Files and data URIs become the images, clips, sound and tensors that a parameter wants.

Array suffixes: H height, W width, F frames, C channels, N samples, T steps, D action width.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers.api import arrays, gate, wants
from strands_diffusers.api.access import Access, max_uri_bytes
from strands_diffusers.api.arrays import local_file
from strands_diffusers.api.wants import Wish
from strands_diffusers.errors import ActionError, ConfigError, ObservationError
from strands_diffusers.observations.images import IMAGE_SUFFIXES, read_image
from strands_diffusers.observations.media import CLIP_SUFFIXES, Clip, frame_times, read_clip

DTYPES = ("float32", "bfloat16", "float16")
MAX_FRAMES_MB = 1000
"""Most memory [MB, 10**6 bytes] that the frames of one clip may take."""

_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.ASCII)
_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif", "video/mp4": ".mp4",
    "video/webm": ".webm", "video/quicktime": ".mov", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/flac": ".flac",
    "audio/ogg": ".ogg", "application/json": ".json",
}  # fmt: skip


def coerce(value: Any, name: str, wish: Wish, access: Access, *, call: str = "") -> Any:
    """What the parameter `name` of `call` wants, made of `value`; what is already of its kind is handed on untouched.

    Raises: `ObservationError`, `ActionError` or `ConfigError` for a file or value that cannot become what is wanted;
        `AccessError` for a file that is not open to the caller.
    """
    return gate.let_through(_coerced(value, name, wish, access), name, wish, access, call=call)


def _coerced(value: Any, name: str, wish: Wish, access: Access) -> Any:
    if wants.DTYPE in wish:
        return torch_dtype(value, name) if isinstance(value, str) else value
    if wants.GENERATOR in wish:
        return _generator(value, name)
    if wants.ACTION in wish:
        return _actions(value, name, access)
    if wants.TENSOR in wish:
        return arrays.tensor(value, name, access)
    if wants.SOUND in wish:
        return _sound(value, name, wish, access) if isinstance(value, str | Path) else value
    if {wants.IMAGE, wants.VIDEO} & wish:
        return _picture(value, name, wish, access)
    if wants.ANY in wish and isinstance(value, str) and value.startswith("data:"):
        return _picture(value, name, Wish({wants.IMAGE, wants.VIDEO}), access)
    return value


# --------------------------------------------------------------------------------------------------- pictures, clips


def _picture(value: Any, name: str, wish: Wish, access: Access) -> Any:
    """PIL images: one for a still, a list for a clip; lists and mappings keep their shape."""
    if isinstance(value, dict):
        return {key: _picture(item, f"{name}.{key}", wish, access) for key, item in value.items()}
    if isinstance(value, list | tuple):
        stills = Wish({wants.IMAGE})
        return [
            _picture(item, f"{name}[{i}]", stills if isinstance(item, str) else wish, access)
            for i, item in enumerate(value)
        ]
    if isinstance(value, str) and value.startswith("data:"):
        with tempfile.TemporaryDirectory(prefix="strands_diffusers_") as folder:
            return _read_picture(_uri_file(value, name, Path(folder)), name, wish)
    if isinstance(value, str | Path):
        return _read_picture(local_file(value, name, access), name, wish)
    return value


def _read_picture(path: Path, name: str, wish: Wish) -> Any:
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        if wants.IMAGE not in wish:
            raise ObservationError(
                f"{name} wants a clip and {path.name} is a still image. Give a clip, or a list of images."
            )
        return Image.fromarray(read_image(path, f"{name}={path.name}"))
    if suffix in CLIP_SUFFIXES:
        if wants.VIDEO not in wish:
            raise ObservationError(f"{name} wants one image and {path.name} is a clip. Give a png, jpg or webp.")
        return [Image.fromarray(frame_HWC) for frame_HWC in bounded_clip(path, f"{name}={path.name}").frames_FHWC]
    known = ", ".join(IMAGE_SUFFIXES if wants.IMAGE in wish else CLIP_SUFFIXES)
    raise ObservationError(f"{name}: {path.name} is neither an image nor a clip by its name. It may end in {known}.")


def bounded_clip(path: Path, name: str) -> Clip:
    """The clip, where its frames take no more than `MAX_FRAMES_MB`: a small file may hold very many of them."""
    size = read_clip(path, num_frames=1, name=name).frames_FHWC.nbytes * len(frame_times(path, name))
    if size > MAX_FRAMES_MB * 1_000_000:
        raise ObservationError(
            f"{name} would take {size / 1e6:,.0f} MB of memory; {MAX_FRAMES_MB:,} are read. Cut it, or make it smaller."
        )
    return read_clip(path, name=name)


# ----------------------------------------------------------------------------------------------------------- numbers


def _actions(value: Any, name: str, access: Access) -> Any:
    """float32 tensor [T, D] from nested lists [T][D] or [1][T][D], an array, JSON text or an action file."""
    import torch

    if value is None or isinstance(value, torch.Tensor):
        return value if value is None else _one_chunk(value.float(), name)
    return torch.from_numpy(_one_chunk(arrays.action_array(value, name, access), name))


def _one_chunk(array: Any, name: str) -> Any:
    """`[T, D]`; one chunk `[1, T, D]` loses its first axis, which diffusers' conditions do not have."""
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise ActionError(f"{name} has shape {list(array.shape)}; it must be [T, D], or one chunk [1, T, D].")
    return array


def _generator(value: Any, name: str) -> Any:
    """A seeded generator from a whole number, several from a list of them."""
    import torch

    if isinstance(value, bool) or not isinstance(value, int | list):
        return value
    if isinstance(value, list):
        return [_generator(item, name) for item in value]
    if not 0 <= value < 2**63:
        raise ConfigError(f"{name}={value} is not a seed; it must be from 0 to 2**63 - 1.")
    return torch.Generator("cpu").manual_seed(value)


def torch_dtype(name: str, shown: str) -> Any:
    """The torch dtype of that name. Raises: `ConfigError` with the allowed names."""
    import torch

    return getattr(torch, precision(name, shown))


def precision(name: object, shown: str) -> str:
    """The name of a precision, also of its short spellings. Raises: `ConfigError` with the allowed names."""
    text = str(name).lower().removeprefix("torch.")
    text = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}.get(
        text, text
    )
    if text not in DTYPES:
        raise ConfigError(f"{shown}={name!r} is not a precision for weights. Use {', '.join(DTYPES)}.")
    return text


# ------------------------------------------------------------------------------------------------------------- files


def _sound(value: str | Path, name: str, wish: Wish, access: Access) -> Any:
    """float32 tensor [C, N] of a sound file at its own rate, or [1, C, N] where a batch is documented."""
    import soundfile
    import torch

    with tempfile.TemporaryDirectory(prefix="strands_diffusers_") as folder:
        is_uri = isinstance(value, str) and value.startswith("data:")
        path = _uri_file(str(value), name, Path(folder)) if is_uri else local_file(value, name, access)
        try:
            samples_NC, _ = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise ObservationError(f"{name}: {path.name} is not a sound file ({error}).") from error
    samples_CN = torch.from_numpy(np.ascontiguousarray(samples_NC.T))
    return samples_CN[None] if wants.BATCHED in wish else samples_CN


def _uri_file(uri: str, name: str, folder: Path) -> Path:
    """The content of a data URI as a file of the right ending. Raises: `ObservationError` for another type, or too much."""
    head = _URI.match(uri)
    if head is None or head[3] is None:
        raise ObservationError(f"{name}: a data URI looks like data:image/png;base64,... ")
    kind = (head[1] or "").lower()
    if kind not in _ENDINGS:
        raise ObservationError(
            f"{name}: a data URI of type {kind or 'none'} is not read; there are {', '.join(_ENDINGS)}."
        )
    limit, body = max_uri_bytes(), uri[head.end() :]
    if len(body) * 3 // 4 > limit:
        raise ObservationError(f"{name}: the data URI holds more than {limit / 1e6:g} MB. Give a file instead.")
    try:
        content = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObservationError(f"{name}: the data URI is not base64 ({error}).") from error
    path = folder / f"data{_ENDINGS[kind]}"
    path.write_bytes(content)
    return path
