"""Read still images, and folders of frames; strictly: nothing is guessed, flattened or resized.

Array suffixes: F frames, H height, W width, C channels (RGB).
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from strands_diffusers.errors import ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.observations.media import MAX_DECODED_BYTES, check_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Files that are read as images."""

_ACCEPTED = "An image is an 8-bit png, jpg or webp."


def read_image(path: Path, name: str = "") -> np.ndarray:
    """Read one image, turned as its EXIF orientation says.

    Shapes: -> uint8 `[H, W, 3]`, RGB.
    Raises: `ObservationError` for a file that is missing, empty, truncated or no image, and for what has no exact 8-bit
        RGB form: 16 bits, CMYK, transparency, animation. `name` (by default the path) stands in front.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = name or str(path)
    check_file(path, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
                if (count := getattr(image, "n_frames", 1)) > 1:
                    raise ObservationError(f"{name} is an animation of {count} images. Convert it to mp4 or gif.")
                image.load()
                upright = ImageOps.exif_transpose(image)
                return _rgb(upright, name)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ObservationError(f"{name} is too large for an observation ({error}).") from error
    except UnidentifiedImageError as error:
        raise ObservationError(f"{name} is not an image. {_ACCEPTED}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what PIL raises for broken files
        raise ObservationError(f"{name} is truncated or damaged ({error}). {_ACCEPTED}") from error


def _rgb(image: object, name: str) -> np.ndarray:
    from PIL.Image import Image

    assert isinstance(image, Image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise ObservationError(
                f"{name} has transparent pixels, and nobody knows what is behind them. Save it without transparency."
            )
        image = image.convert("RGBA")
    elif image.mode not in ("RGB", "L", "P", "1"):
        raise ObservationError(
            f"{name} has pixels of mode {image.mode}, which 8-bit RGB cannot hold exactly. {_ACCEPTED}"
        )
    return np.asarray(image.convert("RGB"), np.uint8).copy()


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
        frame_HWC = read_image(path)
        if frames and frame_HWC.shape != frames[0].shape:
            (height, width), (first_height, first_width) = frame_HWC.shape[:2], frames[0].shape[:2]
            raise ObservationError(
                f"{path} is {width}x{height}, and {chosen[0].name} before it is {first_width}x{first_height}: "
                "the frames of one clip must all be of one size."
            )
        frames.append(frame_HWC)
        if len(frames) * frame_HWC.nbytes > MAX_DECODED_BYTES:
            raise ObservationError(
                f"{directory} takes more than {MAX_DECODED_BYTES >> 30} GiB once decoded. "
                "Pick frames with @start:N and @stride:N."
            )
    return np.stack(frames)


def frame_files(directory: Path) -> list[Path]:
    """The images of a folder in natural order; `ObservationError` where there are none, or the folder is no clip."""
    if (directory / "manifest.json").is_file():
        raise ObservationError(f"{directory} is a finished run, not a folder of frames. Type run:{directory}.")
    if (directory / "meta" / "info.json").is_file():
        raise ObservationError(
            f"{directory} is a LeRobot dataset, not a folder of frames. With the plugin strands-diffusers-lerobot, "
            f"type lerobot:{directory}@episode:0."
        )
    try:
        files = [
            p
            for p in directory.iterdir()
            if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
        ]
    except OSError as error:
        raise ObservationError(f"{directory} cannot be read: {error.strerror}.") from error
    if not files:
        raise ObservationError(f"{directory} is a folder without images. {_ACCEPTED}")
    return sorted(files, key=lambda path: (_natural(path.name), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: runs of digits count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"([0-9]+)", name) if part]
