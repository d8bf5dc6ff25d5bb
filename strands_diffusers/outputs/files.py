"""What every writer here shares: checks of the canonical arrays, and files that are whole or not there at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np

REMEDIED = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "its folder does not exist",
}
"""What keeps a file from being written, and what to do about it."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Guard the writing of one file: on any failure nothing of it stays, and an `OSError` becomes an `OutputError`."""
    existed = path.exists()
    try:
        yield path
    except BaseException as error:
        if not existed:
            with suppress(OSError):  # a folder that refuses even that has nothing of ours in it
                path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {path}: {why(error)}.") from error
        raise


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files, all of them or none. Raises: `OutputError` naming the one that cannot be written."""
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(writing(path)).write_bytes(content)


def png(pixels_HWC: np.ndarray) -> bytes:
    """A picture, uint8 `[H, W, 3]`, as a lossless PNG file."""
    from PIL import Image

    content = BytesIO()
    Image.fromarray(pixels_HWC).save(content, "PNG")
    return content.getvalue()


def why(error: OSError) -> str:
    """Say in words what kept a file from being written."""
    return REMEDIED.get(error.errno or 0) or error.strerror or type(error).__name__


def check_frames(name: str, frames_FHWC: Any) -> np.ndarray:
    """Return `frames_FHWC` where it is uint8 `[F, H, W, 3]` with F, H, W >= 1.

    Raises: `OutputError` otherwise: a video or picture is never guessed to be in another layout or range.
    """
    if not isinstance(frames_FHWC, np.ndarray) or frames_FHWC.dtype != np.uint8:
        raise OutputError(
            f"{name} must be a uint8 array [F, H, W, 3] with values 0 to 255, got {_describe(frames_FHWC)}."
        )
    if frames_FHWC.ndim != 4 or frames_FHWC.shape[3] != 3 or 0 in frames_FHWC.shape:
        raise OutputError(f"{name} must have the shape [F, H, W, 3] with at least one pixel, got {frames_FHWC.shape}.")
    return frames_FHWC


def check_rate(name: str, rate_hz: float | None) -> float:
    """Return a rate [Hz] that is finite and above zero; `OutputError` otherwise."""
    if rate_hz is None or not np.isfinite(rate_hz) or rate_hz <= 0:
        raise OutputError(f"{name} must be a rate above 0 Hz, got {rate_hz}.")
    return float(rate_hz)


def check_floats(name: str, array: Any, axes: str) -> np.ndarray:
    """Return `array` where it is float32, has the axes that `axes` names (`[N, C]`), is not empty and is finite.

    Raises: `OutputError` otherwise, naming how many values are not finite.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise OutputError(f"{name} must be a float32 array {axes}, got {_describe(array)}.")
    if array.ndim != len(axes.split(",")) or array.size == 0:
        raise OutputError(f"{name} must have the shape {axes} with at least one value, got {array.shape}.")
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise OutputError(f"{name} holds NaN or inf in {bad} of {array.size} values; nothing was written.")
    return array


def _describe(value: Any) -> str:
    """`float64 (17, 3)` for an array, else the type's name."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
