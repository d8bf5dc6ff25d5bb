"""Read still images, and folders of frames; strictly: nothing is guessed, flattened or resized.

Array suffixes: F frames, H height, W width, C channels (RGB).
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ObservationError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.observations.media import BROKEN, MAX_PIXELS, TRANSPARENT, check_file, check_size
from strands_diffusers.paths import visible_files

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Files that are read as images."""

_ACCEPTED = "An image is an 8-bit png, jpg or webp."


def read_image(source: Path | bytes, name: str = "") -> np.ndarray:
    """Read one image, a file or its bytes, turned as its EXIF orientation says; of an MPO (a phone's JPEG) the first.

    An embedded colour profile is not applied: neither do the readers of robot datasets that models are trained with.

    Shapes: -> uint8 `[H, W, 3]`, RGB.
    Raises: `ObservationError` for a file that is missing, empty, truncated, too large or no image, and for what has no
        exact 8-bit RGB form: 16 bits, CMYK, transparency, animation. `name` (by default the path) stands in front.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = name or str(source)
    head = check_file(source, name) if isinstance(source, Path) else source
    if head[1:4] == b"PNG" and head[24:25] == b"\x10":  # Pillow opens 16-bit colour as if it had 8
        raise ObservationError(f"{name} has 16 bits a channel, which 8-bit RGB cannot hold exactly. {_ACCEPTED}")
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of broken metadata and of sizes, which are checked here
            Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image,
        ):
            _check_header(image, name)
            image.load()
            return _rgb(ImageOps.exif_transpose(image), name)
    except ObservationError:
        raise
    except Image.DecompressionBombError as error:
        raise ObservationError(f"{name} is too large for an observation ({error}).") from error
    except UnidentifiedImageError as error:
        raise ObservationError(f"{name} is not an image. {_ACCEPTED}") from error
    except (*BROKEN, struct.error) as error:
        raise ObservationError(f"{name} is truncated or damaged ({one_line(error, 120)}). {_ACCEPTED}") from error


_FORMATS = ("PNG", "JPEG", "WEBP")


def _check_header(image: Any, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ObservationError(f"{name} is too large for an observation: {width}x{height} pixels.")
    if image.format != "MPO" and (count := getattr(image, "n_frames", 1)) > 1:
        raise ObservationError(f"{name} is an animation of {count} images. Convert it to mp4 or gif.")


def _rgb(image: Any, name: str) -> np.ndarray:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ObservationError(f"{name} {TRANSPARENT}")
    elif image.mode not in ("RGB", "L", "P", "1"):
        raise ObservationError(
            f"{name} has pixels of mode {image.mode}, which 8-bit RGB cannot hold exactly. {_ACCEPTED}"
        )
    return np.array(image.convert("RGB"), np.uint8)


def read_folder(directory: Path, start: int = 0, num_frames: int | None = None, stride: int = 1) -> np.ndarray:
    """Read the images of a folder as the frames of a clip, in natural order (frame_2 before frame_10).

    Other files, hidden files and folders inside are left alone.
    Shapes: -> uint8 `[F, H, W, 3]`; images `start`, `start + stride`, ..., at most `num_frames` of them.
    Raises: `ObservationError` for a folder without images, and naming the first that is broken or of another size.
    """
    files = frame_files(directory)
    chosen = files[start::stride][:num_frames]
    if not chosen:
        raise ObservationError(f"{directory} has no frame {start}: it holds {len(files)} images.")
    frames: list[np.ndarray] = []
    for path in chosen:
        frames.append(read_image(path))
        if frames[-1].shape != frames[0].shape:
            (height, width), (first_height, first_width) = frames[-1].shape[:2], frames[0].shape[:2]
            raise ObservationError(
                f"{path} is {width}x{height}, and {chosen[0].name} before it is {first_width}x{first_height}: "
                "the frames of one clip must all be of one size."
            )
        check_size(len(chosen) * frames[0].nbytes, str(directory))
    return np.stack(frames)


def frame_files(directory: Path) -> list[Path]:
    """The images of a folder in natural order.

    Raises: `ObservationError` where there are none, the folder is no clip, or an image is a link that leads out of it.
    """
    if (directory / "manifest.json").is_file():
        raise ObservationError(f"{directory} is a finished run, not a folder of frames. Type run:{directory}.")
    if (directory / "meta" / "info.json").is_file():
        raise ObservationError(
            f"{directory} is a LeRobot dataset, not a folder of frames. With the plugin strands-diffusers-lerobot, "
            f"type lerobot:{directory}@episode:0."
        )
    files = visible_files(directory, IMAGE_SUFFIXES)
    if not files:
        raise ObservationError(f"{directory} is a folder without images. {_ACCEPTED}")
    return sorted(files, key=lambda path: (_natural(path.name), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: runs of digits count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"([0-9]+)", name) if part]
