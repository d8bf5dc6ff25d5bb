"""What a caller writes becomes the images, clips, sound, actions and tensors that a parameter wants.

Array suffixes: H height, W width, F frames, C channels, N samples, K chunks, T steps, D action width.
"""

from __future__ import annotations

import base64
import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers.actions.check import check_numbers
from strands_diffusers.api import gate, values, wants
from strands_diffusers.api.access import Access, max_uri_bytes
from strands_diffusers.api.wants import Wish
from strands_diffusers.errors import ActionError, ConfigError, ObservationError
from strands_diffusers.jsonfile import read_json
from strands_diffusers.observations.action_files import only_chunk, read_chunks
from strands_diffusers.observations.images import IMAGE_SUFFIXES, read_image
from strands_diffusers.observations.media import CLIP_SUFFIXES, Clip, check_file, frame_times, read_clip
from strands_diffusers.pipelines.contents import numbers

DTYPES = ("float32", "bfloat16", "float16")
MAX_FRAMES_MB = 1000
"""Most memory [MB, 10**6 bytes] that the frames of one clip may take."""

_SHORT = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*);base64,", re.ASCII)
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
    import torch

    if wants.DTYPE in wish:
        return getattr(torch, precision(value, name)) if isinstance(value, str) else value
    if wants.GENERATOR in wish:
        return _generator(value, name)
    if wants.ACTION in wish:
        return None if value is None else torch.from_numpy(_one_chunk(value, name, access))
    if wants.TENSOR in wish:
        return _tensor(value, name, access)
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
    if isinstance(value, str | Path):
        with _file(value, name, access) as path:
            return _read_picture(path, name, wish)
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


def actions(value: Any, name: str, access: Access) -> np.ndarray:
    """float32 `[T, D]` or `[K, T, D]` from any spelling of actions: nested lists, arrays, `{"data": ...}`, JSON text, a file.

    Raises: `ActionError` for values that are ragged, empty, not numbers, NaN or infinite.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = read_json(value, f"{name}, a string,", ActionError)
        values.check(value, name)
    if isinstance(value, str | Path):
        with _file(value, name, access) as path:
            return read_chunks(path, f"{name}={path.name}")
    if isinstance(value, Mapping):
        return actions(value["data"] if "data" in value else only_chunk(value, name), name, access)
    if isinstance(value, list | tuple):
        value = [numbers(item) if hasattr(item, "detach") else item for item in value]
    elif hasattr(value, "detach"):
        value = numbers(value)
    first = value[0] if isinstance(value, list) and value else value
    one_row = isinstance(first, int | float) if first is not value else getattr(value, "ndim", 0) == 1
    return check_numbers([value] if one_row else value, name)


def _one_chunk(value: Any, name: str, access: Access) -> np.ndarray:
    """`[T, D]`; one chunk `[1, T, D]` loses its first axis, which diffusers' conditions do not have."""
    array = actions(value, name, access)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2:
        raise ActionError(f"{name} has shape {list(array.shape)}; it must be [T, D], or one chunk [1, T, D].")
    return array


def _tensor(value: Any, name: str, access: Access) -> Any:
    """A tensor from nested lists of numbers or a .npy file; anything else is handed on."""
    import torch

    if isinstance(value, str | Path):
        with _file(value, name, access) as path:
            if path.suffix.lower() != ".npy":
                raise ObservationError(f"{name} wants a tensor; {path.name} is no .npy file.")
            try:
                return torch.from_numpy(np.load(path, allow_pickle=False))
            except (OSError, ValueError, TypeError) as error:
                raise ObservationError(f"{name}: {path.name} holds no array of numbers.") from error
    return torch.tensor(value) if isinstance(value, list) and _is_table(value) else value


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_table(item) for item in value)
    return isinstance(value, int | float)


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


def precision(name: object, shown: str) -> str:
    """The name of a precision, also of its short spellings. Raises: `ConfigError` with the allowed names."""
    text = str(name).lower().removeprefix("torch.")
    if (text := _SHORT.get(text, text)) not in DTYPES:
        raise ConfigError(f"{shown}={name!r} is not a precision for weights. Use {', '.join(DTYPES)}.")
    return text


# ------------------------------------------------------------------------------------------------------------- files


def _sound(value: str | Path, name: str, wish: Wish, access: Access) -> Any:
    """float32 tensor [C, N] of a sound file at its own rate, or [1, C, N] where a batch is documented."""
    import soundfile
    import torch

    with _file(value, name, access) as path:
        try:
            samples_NC, _ = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise ObservationError(f"{name}: {path.name} is not a sound file ({error}).") from error
    samples_CN = torch.from_numpy(np.ascontiguousarray(samples_NC.T))
    return samples_CN[None] if wants.BATCHED in wish else samples_CN


@contextlib.contextmanager
def _file(value: str | Path, name: str, access: Access) -> Iterator[Path]:
    """The existing file that the caller may read, or one of the right ending that holds the content of a data URI.

    Raises: `AccessError`; `ObservationError` for what is no file, and for a URI of another type or of too much.
    """
    text = str(value)
    if text.startswith("data:"):
        with tempfile.TemporaryDirectory(prefix="strands_diffusers_") as folder:
            yield _written(text, name, Path(folder))
        return
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise ObservationError(f"{name}: {text.split('?')[0]} is not fetched. Download it and give the file.")
    path = access.readable(text, name)
    check_file(path, f"{name}: {text}")
    yield path


def _written(uri: str, name: str, folder: Path) -> Path:
    head, limit = _URI.match(uri), max_uri_bytes()
    if head is None:
        raise ObservationError(f"{name}: a data URI looks like data:image/png;base64,... ")
    kind, body = (head[1] or "").lower(), uri[head.end() :]
    if kind not in _ENDINGS:
        raise ObservationError(
            f"{name}: a data URI of type {kind or 'none'} is not read; there are {', '.join(_ENDINGS)}."
        )
    if len(body) * 3 // 4 > limit:
        raise ObservationError(f"{name}: the data URI holds more than {limit / 1e6:g} MB. Give a file instead.")
    path = folder / f"data{_ENDINGS[kind]}"
    try:
        path.write_bytes(base64.b64decode(body, validate=True))
    except ValueError as error:
        raise ObservationError(f"{name}: the data URI is not base64 ({error}).") from error
    return path
